"""Run a graph's file on the CPU: in torch, onnxruntime or OpenVINO."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from cascade_core.configs.config import Precision
from cascade_core.engines.formats import GraphFormat, require_packages
from cascade_core.engines.graph import INPUTS, OUTPUTS, Outputs, RunGraph
from cascade_core.errors import UserError

ENGINES: dict[GraphFormat, str] = {"torch": "torch.export", "onnx": "onnxruntime", "openvino": "openvino"}
"""The engine that runs the files of each format."""


def load_torch(file: Path) -> RunGraph:
    """Load a `.pt2` file."""
    graph = torch.export.load(file).module()
    return lambda *arrays: Outputs(
        *(tensor.detach().numpy() for tensor in graph(*map(torch.from_numpy, arrays)))
    )


def load_onnx(file: Path, *, threads: int | None = None) -> RunGraph:
    """Load an ONNX file into onnxruntime, with `threads` threads or onnxruntime's default.

    Raises:
        UserError: onnxruntime is not installed.
    """
    require_packages("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda *arrays: Outputs(
        *map(np.asarray, session.run(list(OUTPUTS), dict(zip(INPUTS, arrays, strict=True))))
    )


def load_openvino(file: Path, *, precision: Precision = "fp32", threads: int | None = None) -> RunGraph:
    """Load an OpenVINO file (or an ONNX file) into OpenVINO, with `threads` threads or OpenVINO's default.

    The precision is stated, because OpenVINO's own default is bf16 on a processor that has it. Layers of an int8 graph
    stay in int8; its other layers take the precision.

    Raises:
        UserError: openvino is not installed.
    """
    require_packages("openvino")
    import openvino

    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision]}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.Core().compile_model(str(file), "CPU", settings)

    def run(*arrays: np.ndarray) -> Outputs:
        # Copies: OpenVINO's own arrays are overwritten by the next call.
        computed = compiled(dict(zip(INPUTS, arrays, strict=True)))
        return Outputs(*(np.array(computed[name]) for name in OUTPUTS))

    return run


def load_graph(
    kind: GraphFormat, file: Path, *, precision: Precision = "fp32", threads: int | None = None
) -> RunGraph:
    """Load a graph's file into its engine; torch uses its own number of threads.

    Raises:
        UserError: the engine's package is not installed, or the precision is bf16, which OpenVINO alone computes in.
    """
    if precision != "fp32" and kind != "openvino":
        raise UserError(
            f"a graph of format {kind} computes in float32 (or int8), not in {precision}; export with --format openvino"
        )
    match kind:
        case "torch":
            return load_torch(file)
        case "onnx":
            return load_onnx(file, threads=threads)
        case "openvino":
            return load_openvino(file, precision=precision, threads=threads)
