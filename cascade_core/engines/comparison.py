"""The engines side by side: the time of one batch in each, taken in turns, and the share of labels that stay torch's.

Labels are compared twice: the graph's own, and those of its logits upsampled by torch in float32, which is what
`evaluate` does.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from cascade_core.configs.config import Precision
from cascade_core.engines.check import Inputs, check_graph
from cascade_core.engines.formats import write_onnx, write_openvino
from cascade_core.engines.graph import Exportable, Outputs, RunGraph, exported_program
from cascade_core.engines.int8 import quantise
from cascade_core.engines.running import load_onnx, load_openvino
from cascade_core.inference.precision import computing
from cascade_core.inference.vocabulary import Vocabulary

Column = tuple[str, str]
"""An engine and a precision."""
TORCH: Column = ("torch", "fp32")
GRAPHS: Mapping[Column, tuple[str, ...]] = {
    ("onnxruntime", "fp32"): ("onnx", "onnxscript", "onnxruntime"),
    ("onnxruntime", "int8"): ("onnx", "onnxscript", "onnxruntime"),
    ("openvino", "fp32"): ("onnx", "onnxscript", "openvino"),
    ("openvino", "bf16"): ("onnx", "onnxscript", "openvino"),
    ("openvino", "int8"): ("onnx", "onnxscript", "onnxruntime", "openvino"),
}
"""The graphs to compare with torch, and the packages that each needs."""


@dataclass(frozen=True)
class EngineTime:
    """The time of one batch in an engine, and the share of pixels with the label of torch in fp32.

    Attributes:
        engine: torch, onnxruntime or openvino.
        precision: fp32, bf16 or int8.
        milliseconds: median of the runs; None, as the fields below, if a package of the engine is not installed.
        milliseconds_quartiles: lower and upper quartile.
        labels_equal: share of equal labels, by the engine's own label map.
        labels_of_logits_equal: the same by the engine's logits, upsampled in float32.
    """

    engine: str
    precision: str
    milliseconds: float | None = None
    milliseconds_quartiles: tuple[float, float] | None = None
    labels_equal: float | None = None
    labels_of_logits_equal: float | None = None


def compare_engines(
    module: Exportable,
    inputs: Inputs,
    calibration: Sequence[Inputs],
    *,
    threads: int,
    repeats: int,
    report: Callable[[int, int, str], None],
) -> tuple[EngineTime, ...]:
    """Time each engine on the same inputs, with `threads` threads: the median of `repeats` runs after a warm-up.

    Torch runs as `predict` does: with the text's half of the decoder computed before, and frozen weights stored in bf16.

    Raises:
        UserError: the graph in float32 differs from torch by more than its tolerance.
    """
    installed = [column for column, packages in GRAPHS.items() if all(map(find_spec, packages))]
    total = 1 + repeats
    report(0, total, "export and calibration")
    with tempfile.TemporaryDirectory(prefix="cascade-engines-") as scratch:
        runs = {
            TORCH: _in_torch(module, inputs, "fp32"),
            ("torch", "bf16"): _in_torch(module, inputs, "bf16"),
            **_graphs(module, installed, calibration, Path(scratch), threads),
        }
        expected = runs[TORCH](*inputs).labels
        # The warm-up, too.
        equal = {column: _equal(module, run(*inputs), expected, inputs) for column, run in runs.items()}
        seconds: dict[Column, list[float]] = {column: [] for column in runs}
        for done in range(1, total):
            report(done, total, f"engines, run {done} of {repeats}")
            for column, run in runs.items():
                began = time.perf_counter()
                run(*inputs)
                seconds[column].append(time.perf_counter() - began)
    report(total, total, "engines")
    return tuple(
        _timed(column, seconds[column], equal[column]) if column in runs else EngineTime(*column)
        for column in (TORCH, ("torch", "bf16"), *GRAPHS)
    )


def _graphs(
    module: Exportable,
    columns: Sequence[Column],
    calibration: Sequence[Inputs],
    scratch: Path,
    threads: int,
) -> dict[Column, RunGraph]:
    """Write the graphs that the columns need, check the one in float32, and load each into its engine."""
    if not columns:
        return {}
    onnx = {"fp32": scratch / "float32.onnx", "int8": scratch / "int8.onnx"}
    write_onnx(exported_program(module), onnx["fp32"])
    if any(precision == "int8" for _, precision in columns):
        quantise(onnx["fp32"], onnx["int8"], calibration)
    runs: dict[Column, RunGraph] = {}
    for engine, precision in columns:
        weights = "int8" if precision == "int8" else "fp32"  # OpenVINO rounds to bf16 at run time
        if engine == "onnxruntime":
            runs[engine, precision] = load_onnx(onnx[weights], threads=threads)
        else:
            file = onnx[weights].with_suffix(".xml")
            if not file.exists():
                write_openvino(onnx[weights], file)
            hint: Precision = "bf16" if precision == "bf16" else "fp32"
            runs[engine, precision] = load_openvino(file, precision=hint, threads=threads)
        if precision == "fp32":
            check_graph(runs[engine, precision], module)
    return runs


def _in_torch(module: Exportable, inputs: Inputs, precision: Precision) -> RunGraph:
    """Return torch's run in a precision for the class vectors of `inputs`."""
    vocabulary = Vocabulary(module.segmentor, torch.from_numpy(inputs[1]), module.score_function)
    prepared, trunk = vocabulary.prepared, vocabulary.trunk(precision)

    @torch.no_grad()
    def run(images: np.ndarray, class_vectors: np.ndarray, penalties: np.ndarray) -> Outputs:
        pictures = module.normalised(torch.from_numpy(images))
        with computing(torch.device("cpu"), precision):
            logits = module.segmentor.decode(trunk(pictures), prepared)
        size = images.shape[-2], images.shape[-1]
        return Outputs(
            *(tensor.numpy() for tensor in module.of_logits(logits, size, torch.from_numpy(penalties)))
        )

    return run


def _equal(module: Exportable, outputs: Outputs, expected: np.ndarray, inputs: Inputs) -> tuple[float, float]:
    """Return the shares of expected labels in the engine's label map, and in that of its logits."""
    images, _, penalties = inputs
    size = images.shape[-2], images.shape[-1]
    of_logits = module.of_logits(torch.from_numpy(outputs.logits), size, torch.from_numpy(penalties))[2]
    return float((outputs.labels == expected).mean()), float((of_logits.numpy() == expected).mean())


def _timed(column: Column, seconds: Sequence[float], equal: tuple[float, float]) -> EngineTime:
    low, median, high = (1e3 * np.quantile(seconds, (0.25, 0.5, 0.75))).tolist()
    return EngineTime(*column, median, (low, high), *equal)
