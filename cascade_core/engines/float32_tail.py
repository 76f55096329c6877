"""Keep what follows the logits of an OpenVINO graph in float32 when the graph computes in bf16.

OpenVINO's bf16 leaves out operations at the end of a graph, up to the last product or resizing (`Interpolate`). So
upsampling would be in bf16, and probabilities of 8 bits tie. A `GridSample` at the same positions computes the same
numbers, and belongs to the part that stays in float32. onnxruntime takes five times as long for it, and keeps `Resize`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np


def upsample_in_float32(model: Any) -> None:
    """Replace, in place, each bilinear resizing after the output `logits` of an `openvino.Model`."""
    from openvino import opset15

    logits = model.output("logits").get_node().input_value(0)
    resizings = [node for node in _after(logits) if node.get_type_name() == "Interpolate"]
    assert resizings, "a graph upsamples its logits"
    for node in resizings:
        node.output(0).replace(_sampled(node.input_value(0), node.input_value(1), opset15))


def _after(output: Any) -> Iterator[Any]:
    """Yield the nodes that depend on an output, each once."""
    waiting: list[Any] = [output]
    names: set[str] = set()
    while waiting:
        for target in waiting.pop().get_target_inputs():
            node = target.get_node()
            if node.get_name() not in names:
                names.add(node.get_name())
                waiting += node.outputs()
                yield node


def _sampled(maps: Any, sizes: Any, ops: Any) -> Any:
    """Return maps [batch, classes, height, width] at `sizes`, which names the same four axes."""
    first = ops.constant(np.int64(0))
    batch, height, width = (ops.gather(sizes, ops.constant(np.int64(axis)), first) for axis in (0, 2, 3))
    shape = ops.concat([ops.unsqueeze(side, first) for side in (batch, height, width)], 0)
    down = ops.unsqueeze(_centres(height, ops), ops.constant(np.int64(1)))
    grid = [
        ops.unsqueeze(ops.broadcast(centres, shape), ops.constant(np.int64(3)))
        for centres in (_centres(width, ops), down)
    ]
    attributes = {"align_corners": False, "mode": "bilinear", "padding_mode": "border"}
    return ops.grid_sample(maps, ops.concat(grid, 3), attributes).output(0)


def _centres(side: Any, ops: Any) -> Any:
    """Return the centres of a side's pixels, where -1 and 1 are its ends."""
    zero, one, two = (ops.constant(np.int64(value)) for value in (0, 1, 2))
    odd = ops.add(ops.multiply(ops.range(zero, side, one, output_type="i64"), two), one)
    ratio = ops.divide(ops.convert(odd, "f32"), ops.convert(side, "f32"))
    return ops.subtract(ratio, ops.constant(np.float32(1)))
