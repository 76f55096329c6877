"""Sliding-window inference: class scores of a picture larger than the model's crop."""

from collections.abc import Callable
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

Predict = Callable[[Float[Tensor, "batch 3 height width"]], Float[Tensor, "batch classes height width"]]
"""From normalised pictures to calibrated class scores of the same size."""


def window_origins(length: int, crop: int, stride: int) -> list[int]:
    """Give where windows start along one side: every `stride`, the last one shifted back inside.

    A side shorter than the crop has one window, of the whole side.

    Raises:
        ValueError: a length is not positive, or the stride exceeds the crop, which would leave gaps.
    """
    if min(length, crop, stride) < 1 or stride > crop:
        raise ValueError(
            f"length={length}, crop={crop}, stride={stride}: all must be positive and stride at most crop"
        )
    number = max(length - crop + stride - 1, 0) // stride + 1
    return [max(min(i * stride + crop, length) - crop, 0) for i in range(number)]


def slide(
    predict: Predict,
    image: Float[Tensor, "1 3 height width"],
    *,
    crop: int,
    stride: int,
    num_classes: int,
    window_batch: int = 1,
) -> Float[Tensor, "1 {num_classes} height width"]:
    """Average the class scores of overlapping windows over each pixel.

    What is averaged, as published, are scores after the sigmoid and the seen penalty, not logits.
    `window_batch` windows go through the model at once. Memory: one float32 map per class at the size of
    the picture, besides the windows in flight.

    Raises:
        ValueError: `predict` returns another number of classes or another size than asked for, or as of
            `window_origins`.
    """
    height, width = image.shape[-2:]
    rows, columns = window_origins(height, crop, stride), window_origins(width, crop, stride)
    window = (min(crop, height), min(crop, width))
    total = image.new_zeros((num_classes, height, width), dtype=torch.float32)
    all_places = [
        (slice(top, top + window[0]), slice(left, left + window[1])) for top, left in product(rows, columns)
    ]
    for first in range(0, len(all_places), window_batch):
        places = all_places[first : first + window_batch]
        scores = predict(torch.cat([image[:, :, down, across] for down, across in places]))
        if scores.shape != (len(places), num_classes, *window):
            raise ValueError(
                f"scores of shape {tuple(scores.shape)} for {len(places)} windows of {window[0]}x{window[1]} "
                f"and {num_classes} classes; check that text vectors and class list have the same length"
            )
        for (down, across), window_scores in zip(places, scores, strict=True):
            total[:, down, across] += window_scores
    visits = torch.outer(_visits(rows, window[0], height), _visits(columns, window[1], width))
    return total.div_(visits.to(total.device))[None]


def _visits(origins: list[int], window: int, length: int) -> Float[Tensor, "{length}"]:
    """Count the windows over each position of one side."""
    visits = torch.zeros(length)
    for origin in origins:
        visits[origin : origin + window] += 1
    return visits
