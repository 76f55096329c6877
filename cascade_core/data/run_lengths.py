"""Run-length masks as COCO and the Detail API write them: column by column, background first."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from cascade_core.errors import UserError


def decode_mask(segmentation: Any, shape: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Turn `{"size": [height, width], "counts": ...}` into a mask; counts are run lengths, or text that packs them.

    Not by pycocotools, whose decoder leaves what too few runs do not reach to chance. `shape` is that of the
    picture: a mask of another size is refused before memory is taken for it.

    Raises:
        UserError: fields are missing, the size is another one, or the runs do not fill it.
    """
    try:
        size, counts = tuple(segmentation["size"]), segmentation["counts"]
        runs = unpack_runs(counts) if isinstance(counts, str) else np.array(counts, dtype=np.int64)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"no run-length mask ({error!r}); expected size and counts") from error
    height, width = shape
    if size != shape:
        raise UserError(f"its mask has the size {size}, its picture {shape} (height, width); export it anew")
    if (runs < 0).any() or runs.sum() != height * width:
        raise UserError(
            f"runs of its mask add up to {runs.sum()} pixels, not to {height} x {width}; export it anew"
        )
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def unpack_runs(packed: str) -> Int64[np.ndarray, " runs"]:
    """Unpack COCO's text form of run lengths.

    Each character holds 5 bits and a mark that more follow, above an offset of 48; the lowest bits come first
    and the highest one is the sign. From the fourth on, a number is the difference to the one two before.
    """
    codes = np.frombuffer(packed.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    if codes.size == 0 or (codes < 0).any() or (codes > 63).any() or codes[-1] & 32:
        raise UserError("packed run lengths are damaged")
    last = (codes & 32) == 0
    starts = np.concatenate(([0], np.flatnonzero(last)[:-1] + 1))
    digit = np.arange(codes.size) - np.repeat(starts, np.diff(np.append(starts, codes.size)))
    numbers = np.add.reduceat((codes & 31) << 5 * digit, starts)
    negative = codes[last] & 16 != 0
    numbers -= np.where(negative, np.int64(1) << 5 * (digit[last] + 1), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
