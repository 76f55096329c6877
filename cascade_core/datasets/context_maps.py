"""Draw label maps of Pascal Context from the annotations, and compare them with VOC's own of the same pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from cascade_core.data.pictures import MOST_PIXELS, read_label_ids
from cascade_core.data.run_lengths import decode_mask
from cascade_core.errors import UserError


def draw(
    image: Mapping[str, Any], shapes: Sequence[Mapping[str, Any]], table: Mapping[int, int], path: Path
) -> UInt8[np.ndarray, "height width"]:
    """Draw the annotations of a picture into a label map, in the order of the file, as the Detail API does.

    Raises:
        UserError: a mask is damaged or of another size, or a category is none of the 59 classes.
    """
    if not 0 < image["height"] * image["width"] <= MOST_PIXELS:
        raise UserError(
            f"{path}: {image['file_name']} has {image['width']} x {image['height']} pixels; fetch it again"
        )
    ids = np.zeros((image["height"], image["width"]), dtype=np.uint8)
    for shape in shapes:
        where = f"{path}: annotation {shape.get('id')} of {image['file_name']}"
        if shape["category_id"] not in table:
            raise UserError(
                f"{where}: category {shape['category_id']} is none of the {len(table) - 1} classes"
            )
        try:
            mask = decode_mask(shape["segmentation"], ids.shape)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        ids[mask] = table[shape["category_id"]]
    return ids


def agreement(
    pairs: Sequence[tuple[Path, Path]], names: Sequence[str], orders: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Return for each class order the share of VOC's pixels to which Context's label maps give the same class.

    `pairs` are label maps of VOC and of Context, `names` are VOC's classes in Context's words. The result is empty if
    no pixel has a class in both.
    """
    num_classes = len(next(iter(orders.values())))
    counts = np.zeros((1 + len(names), 2 + num_classes), dtype=np.int64)
    for voc, context in pairs:
        counts += _count_pairs(voc, context, counts.shape)
    if not counts.any():
        return {}
    rows = np.arange(1, 1 + len(names))
    return {
        order: float(counts[rows, [1 + classes.index(name) for name in names]].sum() / counts.sum())
        for order, classes in orders.items()
    }


def _count_pairs(
    voc: Path, context: Path, shape: tuple[int, int]
) -> Int64[np.ndarray, "{shape[0]} {shape[1]}"]:
    """Count the pixels of each pair of ids in two label maps; ids without a class count in row 0 or the last column."""
    rows, columns = shape
    first, second = read_label_ids(voc).astype(np.int64), read_label_ids(context).astype(np.int64)
    if first.shape != second.shape:
        raise UserError(f"{context}: size {second.shape} differs from {first.shape} of {voc} (height, width)")
    first[first >= rows] = 0
    second = second.clip(max=columns - 1)
    counts = np.bincount((columns * first + second).ravel(), minlength=rows * columns).reshape(shape)
    counts[0] = 0
    return counts
