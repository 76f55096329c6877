"""The images that steps run in."""

IMAGE = "cascade-clip-workflow:0.1.0-python3.11"
"""Holds this package, with CUDA; compiling a pipeline may put another one in its place."""

CPU_IMAGE = f"{IMAGE}-cpu"
"""The light one, for every step that has no GPU."""
