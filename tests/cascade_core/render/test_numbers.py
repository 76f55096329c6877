"""Ids on regions: at the innermost point of each region that has room for them."""

import numpy as np
from PIL import Image

from cascade_core.render.numbers import with_numbers


def changed(labels: np.ndarray, scale: int = 4) -> np.ndarray:
    """Return which pixels of a grey tile the numbers cover."""
    tile = Image.new("RGB", (labels.shape[1] * scale, labels.shape[0] * scale), (90, 90, 90))
    numbered = with_numbers(tile, labels, ignored=255)
    assert numbered.size == tile.size
    return (np.asarray(numbered) != 90).any(axis=2)


def test_a_number_lies_within_its_region() -> None:
    labels = np.zeros((32, 32), dtype=np.uint8)
    labels[:, :16] = 255
    covered = changed(labels)
    assert covered[:, 64:].any() and not covered[:, :64].any()
    rows, columns = np.nonzero(covered)
    assert abs(rows.mean() - 64) < 12 and abs(columns.mean() - 96) < 4


def test_each_region_of_a_class_has_its_number() -> None:
    labels = np.zeros((32, 32), dtype=np.uint8)
    labels[:, 12:20] = 3
    covered = changed(labels)
    assert covered[:, :48].any() and covered[:, 48:80].any() and covered[:, 80:].any()


def test_regions_without_room_have_no_number() -> None:
    labels = np.full((32, 32), 255, dtype=np.uint8)
    labels[4, :], labels[20, 20] = 1, 2
    assert not changed(labels).any()
