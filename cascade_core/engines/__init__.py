"""Exported graphs: write, check and quantise them, and run them in torch, onnxruntime or OpenVINO."""
