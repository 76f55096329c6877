"""Write a segmentor as a graph of some format, in float32 or int8, and compare the file with torch."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from cascade_core.engines.check import Differences, Inputs, check_graph, differences
from cascade_core.engines.formats import GraphFormat, require_packages, write_onnx, write_openvino
from cascade_core.engines.graph import Exportable, exported_program
from cascade_core.engines.int8 import quantise
from cascade_core.engines.running import load_graph, load_onnx

PACKAGES: dict[GraphFormat, tuple[str, ...]] = {
    "torch": (),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "onnxruntime", "openvino"),
}
"""The packages that a format needs beside torch."""


def write_graph(
    module: Exportable, kind: GraphFormat, file: Path, *, calibration: Sequence[Inputs] = ()
) -> Differences:
    """Write `file`, and return how far the graph in it is from torch.

    With inputs for `calibration` (not for the format torch) the graph is in int8, and is compared on them; the float32
    graph that it is made from is checked first. A graph in float32 is checked on examples.

    Raises:
        UserError: a package is missing, or a float32 graph differs from torch by more than its tolerance.
    """
    require_packages(*PACKAGES[kind])
    program = exported_program(module)
    if kind == "torch":
        assert not calibration, "torch.export has no int8 graph"
        torch.export.save(program, file)
        return check_graph(load_graph(kind, file), module)
    with tempfile.TemporaryDirectory(prefix="cascade-graph-") as scratch:
        # OpenVINO reads its graph from an ONNX file, and an int8 graph is made from one in float32.
        onnx, int8 = (Path(scratch) / name for name in ("float32.onnx", "int8.onnx"))
        if kind == "onnx":
            onnx, int8 = (onnx, file) if calibration else (file, int8)
        write_onnx(program, onnx)
        if calibration:
            check_graph(load_onnx(onnx), module)
            quantise(onnx, int8, calibration)
        if kind == "openvino":
            write_openvino(int8 if calibration else onnx, file)
    run = load_graph(kind, file)
    return differences(run, module, calibration) if calibration else check_graph(run, module)
