"""Run-length masks, against a packer written from the format's description."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_core.data.run_lengths import decode_mask
from tests.official_files import packed_runs


@given(seed=st.integers(0, 999), height=st.integers(1, 9), width=st.integers(1, 40), fill=st.floats(0, 1))
def test_unpacking_inverts_packing(seed: int, height: int, width: int, fill: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < fill
    assert np.array_equal(
        decode_mask({"size": [height, width], "counts": packed_runs(mask)}, mask.shape), mask
    )


def test_long_runs_take_several_characters() -> None:
    mask = np.zeros((300, 400), dtype=bool)
    mask[100:250, 30:390] = True
    assert np.array_equal(decode_mask({"size": [300, 400], "counts": packed_runs(mask)}, mask.shape), mask)


def test_unpacked_counts_run_down_the_columns() -> None:
    mask = decode_mask({"size": [2, 3], "counts": [1, 2, 3]}, (2, 3))
    assert mask.astype(int).tolist() == [[0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [2, 3], "counts": [1, 2]}, "add up to 3 pixels, not to 2 x 3"),
        ({"size": [2, 3], "counts": [9, -3]}, "add up to 6 pixels"),
        ({"size": [3, 2], "counts": [6]}, r"size \(3, 2\), its picture \(2, 3\)"),
        ({"size": [2, 3], "counts": "P"}, "packed run lengths are damaged"),
        ({"size": [2, 3], "counts": "~"}, "packed run lengths are damaged"),
        ({"size": [2, 3], "counts": ""}, "packed run lengths are damaged"),
        ({"size": [2, 3]}, "no run-length mask"),
        ({"size": [2, 3], "counts": "\x7f"}, "no run-length mask"),
        ({"size": [2, 3], "counts": "é"}, "no run-length mask"),
        ([[0, 0, 2, 0, 2, 2]], "no run-length mask"),
    ],
)
def test_damaged_masks_are_refused(segmentation: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_mask(segmentation, (2, 3))
