"""The files of a graph: `torch.export` (.pt2), ONNX, and OpenVINO's pair of .xml and .bin, both made from the ONNX file."""

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch

from cascade_core.engines.float32_tail import upsample_in_float32
from cascade_core.engines.graph import INPUTS, OUTPUTS
from cascade_core.errors import UserError
from cascade_core.runtime.extras import install_command

GraphFormat = Literal["onnx", "torch", "openvino"]
GRAPH_FILES: dict[GraphFormat, str] = {"onnx": "model.onnx", "torch": "model.pt2", "openvino": "model.xml"}
OPSET = 20


def write_onnx(program: torch.export.ExportedProgram, file: Path) -> None:
    """Write the graph as one ONNX file.

    Raises:
        UserError: the packages of the extra `export` are not installed.
    """
    require_packages("onnx", "onnxscript")
    with warnings.catch_warnings():
        # torch warns about its own calls.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        onnx = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            verbose=False,
        )
    assert onnx is not None
    onnx.save(file)


def write_openvino(onnx: Path, file: Path) -> None:
    """Convert an ONNX file, in float32 or int8, to OpenVINO's format; the weights lie in a .bin beside `file`.

    Raises:
        UserError: the package of the extra `openvino` is not installed.
    """
    require_packages("openvino")
    import openvino

    model = openvino.Core().read_model(str(onnx))
    upsample_in_float32(model)
    # In float32, as they are: by default they would be rounded to float16.
    openvino.save_model(model, str(file), compress_to_fp16=False)


def require_packages(*packages: str) -> None:
    """Check that packages of the extras `export` and `openvino` are installed.

    Raises:
        UserError: a package is missing; the message says how to install it.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        extra = "openvino" if "openvino" in packages else "export"
        raise UserError(
            f"a graph of this format needs {', '.join(missing)}, which this environment lacks: {install_command(extra)}"
        )
