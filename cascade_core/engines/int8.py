"""Static quantisation of a graph: products with weights in 8 bits, with ranges that pictures of the user gave.

An ONNX file of onnxruntime's quantiser says with pairs of QuantizeLinear and DequantizeLinear where 8 bits suffice;
onnxruntime and OpenVINO both run such products in 8 bits. Products of two activations (attention, queries with
patches), softmax, norms and upsampling stay in float32.
"""

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cascade_core.engines.check import Inputs
from cascade_core.engines.formats import require_packages
from cascade_core.engines.graph import INPUTS

WITH_WEIGHTS = ("MatMul", "Gemm", "Conv")
"""The operations that may have weights."""


def quantise(onnx: Path, file: Path, calibration: Iterable[Inputs]) -> None:
    """Write the ONNX graph `onnx` with 8-bit weights and activations to `file`.

    The lowest and highest number of each activation on the inputs of `calibration` bound its 256 levels. Weights have
    a scale per output channel.

    Raises:
        UserError: the packages of the extra `export` are not installed.
    """
    require_packages("onnx", "onnxruntime")
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        """Hands the inputs over, one by one, as onnxruntime asks for them."""

        def __init__(self) -> None:
            self._left = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            inputs = next(self._left, None)
            return None if inputs is None else dict(zip(INPUTS, inputs, strict=True))

    with tempfile.TemporaryDirectory(prefix="cascade-int8-") as scratch, _without_its_advice():
        simplified = Path(scratch) / "simplified.onnx"
        quant_pre_process(str(onnx), str(simplified), skip_symbolic_shape=True)
        quantize_static(
            str(simplified),
            str(file),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=_nodes_with_weights(simplified),
        )


def _nodes_with_weights(file: Path) -> list[str]:
    """Return the names of the products with weights; a vector of weights is a scale, and gains nothing from 8 bits."""
    import onnx

    graph: Any = onnx.load(file).graph
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 1}
    return [
        node.name for node in graph.node if node.op_type in WITH_WEIGHTS and weights.intersection(node.input)
    ]


@contextmanager
def _without_its_advice() -> Iterator[None]:
    """Keep the root logger from showing the quantiser's advice, such as to do what is done."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(level)
