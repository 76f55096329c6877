"""Label Studio's run lengths of a brush mask: a stream of bits that packs the levels of an RGBA picture.

The stream has the number of levels (32 bits), the bits of a level less 1 (5), and four sizes of lengths less 1 (4 each).
Blocks follow: a bit that says whether one level is repeated, 2 bits that choose a size, the length less 1 in that size,
and the level, or all levels one by one. A pixel is four equal levels, 255 in the mask and 0 elsewhere.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from cascade_core.errors import UserError

LEVEL_BITS = 8
LENGTH_BITS = (3, 4, 8, 16)
CHANNELS = 4
MOST_PIXELS = 2**28


def encode_brush(mask: Bool[np.ndarray, "height width"]) -> list[int]:
    """Return a mask as the bytes of Label Studio's `rle`."""
    pixels = mask.ravel()
    starts = np.flatnonzero(np.diff(pixels, prepend=~pixels[:1]))
    lengths = np.diff(np.append(starts, pixels.size)) * CHANNELS
    parts = [
        f"{pixels.size * CHANNELS:032b}{LEVEL_BITS - 1:05b}",
        *(f"{size - 1:04b}" for size in LENGTH_BITS),
    ]
    for first, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        level = "1" * LEVEL_BITS if pixels[first] else "0" * LEVEL_BITS
        for taken in range(0, length, 2 ** LENGTH_BITS[-1]):
            part = min(length - taken, 2 ** LENGTH_BITS[-1])
            choice = next(i for i, size in enumerate(LENGTH_BITS) if part <= 2**size)
            parts.append(f"1{choice:02b}{part - 1:0{LENGTH_BITS[choice]}b}{level}")
    bits = np.frombuffer("".join(parts).encode(), dtype=np.uint8) - ord("0")
    return np.packbits(bits).tolist()


def decode_brush(rle: Sequence[int], shape: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Return the mask of Label Studio's `rle` in a picture of `shape`: the pixels that are not transparent.

    Raises:
        UserError: the bytes are damaged, or of a picture of another size.
    """
    height, width = shape
    if height * width > MOST_PIXELS:
        raise UserError(
            f"a picture of {width}x{height} is larger than {MOST_PIXELS:,} pixels; cut it into parts"
        )
    try:
        bits = "".join(f"{byte:08b}" for byte in bytes(rle))
    except (TypeError, ValueError) as error:
        raise UserError(f"its rle is no list of bytes ({error}); export it anew") from error
    reader = _Bits(bits)
    levels, level_bits = reader.number(32), reader.number(5) + 1
    sizes = [reader.number(4) + 1 for _ in range(4)]
    if levels != height * width * CHANNELS:
        raise UserError(
            f"its rle holds {levels // CHANNELS} pixels, the picture {width}x{height}; export it anew"
        )
    values, lengths, count = list[int](), list[int](), 0
    while count < levels:
        repeated, length = reader.number(1), reader.number(sizes[reader.number(2)]) + 1
        if repeated:
            values.append(reader.number(level_bits))
            lengths.append(length)
        else:
            values.extend(reader.number(level_bits) for _ in range(length))
            lengths.extend([1] * length)
        count += length
    if count != levels:
        raise UserError(
            f"its rle holds {count // CHANNELS} pixels, the picture {width}x{height}; export it anew"
        )
    all_levels = np.repeat(np.array(values) > 0, lengths)
    return all_levels[CHANNELS - 1 :: CHANNELS].reshape(shape)  # the last channel is the opacity


class _Bits:
    """A text of bits, read from its start."""

    def __init__(self, bits: str) -> None:
        self.bits, self.place = bits, 0

    def number(self, size: int) -> int:
        end = self.place + size
        if end > len(self.bits):
            raise UserError("its rle ends too early; export it anew")
        number = int(self.bits[self.place : end], 2)
        self.place = end
        return number
