"""Run-length masks of COCO and the Detail API: column by column, background first."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from cascade_core.errors import UserError

MOST_DIGITS = 7
"""Limit on the 5-bit digits of a packed run length; no picture has as many pixels as a longer one."""


def checked_runs(segmentation: Any, shape: tuple[int, int]) -> Int64[np.ndarray, " runs"]:
    """Return the run lengths of `{"size": [height, width], "counts": ...}`; counts are these or COCO's text form of them.

    `shape` is the picture's (height, width); a mask of another size is refused before its memory is allocated.

    Raises:
        UserError: a field is missing, the size differs, or the runs do not add up to it.
    """
    try:
        size, counts = tuple(segmentation["size"]), segmentation["counts"]
        runs = unpack_runs(counts) if isinstance(counts, str) else np.array(counts, dtype=np.int64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"no run-length mask ({error!r}); expected size and counts") from error
    height, width = shape
    if size != shape:
        raise UserError(f"its mask has the size {size}, its picture {shape} (height, width); export it anew")
    if (runs < 0).any() or (runs > height * width).any() or runs.sum() != height * width:
        raise UserError(
            f"runs of its mask add up to {runs.sum()} pixels, not to {height} x {width}; export it anew"
        )
    return runs


def decode_runs(runs: Int64[np.ndarray, " runs"], shape: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Decode checked run lengths.

    The decoder of pycocotools is no alternative: it leaves pixels uninitialised if the runs are too short.
    """
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape[::-1]).T


def runs_of(
    mask: Bool[np.ndarray, "rows columns"], shape: tuple[int, int], corner: tuple[int, int] = (0, 0)
) -> Int64[np.ndarray, " runs"]:
    """Return the run lengths of a mask in a picture of `shape`; its first row and column there are `corner`.

    They take memory for the mask alone, however large the picture is.
    """
    top, left = corner
    steps = np.diff(mask.T.astype(np.int8), axis=1, prepend=0, append=0)
    columns, rows = np.nonzero(steps)  # a start and an end in turn, column by column
    ends = (left + columns) * shape[0] + top + rows
    return np.diff(ends, prepend=0, append=shape[0] * shape[1])


def decode_mask(segmentation: Any, shape: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Decode a run-length mask of a picture of `shape`; errors as in `checked_runs`."""
    return decode_runs(checked_runs(segmentation, shape), shape)


def unpack_runs(packed: str) -> Int64[np.ndarray, " runs"]:
    """Unpack COCO's text form of run lengths.

    A character minus 48 holds 5 bits of a number, lowest bits first, and a flag that more bits follow; a number's
    highest bit is its sign. From the fourth number on, the text stores the difference to the number two places before.

    Raises:
        UserError: the text does not hold packed run lengths.
    """
    codes = np.frombuffer(packed.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    if codes.size == 0 or (codes < 0).any() or (codes > 63).any() or codes[-1] & 32:
        raise UserError("packed run lengths are damaged")
    last = (codes & 32) == 0
    starts = np.concatenate(([0], np.flatnonzero(last)[:-1] + 1))
    digit = np.arange(codes.size) - np.repeat(starts, np.diff(np.append(starts, codes.size)))
    if digit.max() >= MOST_DIGITS:
        raise UserError("packed run lengths are damaged")
    numbers = np.add.reduceat((codes & 31) << 5 * digit, starts)
    negative = codes[last] & 16 != 0
    numbers -= np.where(negative, np.int64(1) << 5 * (digit[last] + 1), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
