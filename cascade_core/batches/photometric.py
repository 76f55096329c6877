"""Random changes of brightness, contrast, saturation and hue (mmsegmentation's `PhotoMetricDistortion`).

This draws all changes first. Then it applies consecutive changes of brightness and contrast as one table of 256
levels, and saturation and hue together on the channel planes. A detour over HSV would also round hues to 8 bits.
"""

from functools import reduce

import numpy as np
from jaxtyping import Float32, Int16, UInt8, UInt16

Levels = UInt8[np.ndarray, "3 height width"]
"""Red, green and blue planes."""
Plane = UInt8[np.ndarray, "height width"]
Table = UInt8[np.ndarray, "256"]
PIXELS_AT_ONCE = 2**16
"""This many pixels and their intermediate values fit into the cache of one core."""
BITS = 8
ONE = 1 << BITS
"""The number 1 in fixed point, for shares and for sixths of the hue circle: six times as fine as 8-bit hues."""
IDENTITY: Table = np.arange(256, dtype=np.uint8)


def photometric_distortion(levels: Levels, rng: np.random.Generator) -> Levels:
    """Distort brightness, contrast, saturation and hue, each with probability one half.

    A coin decides whether contrast comes before or after saturation and hue. Each step clips its values to 8 bits,
    except saturation if hue follows. Hue moves by whole steps of two degrees, -36 to 34. The order of the draws is
    the published one: earlier coins decide which later draws happen.
    """
    before = [IDENTITY]
    if rng.random() < 0.5:
        before.append(_affine(offset=rng.uniform(-32, 32)))
    contrast_first = rng.random() < 0.5
    if contrast_first:
        before.append(_contrast(rng))
    saturation = rng.uniform(0.5, 1.5) if rng.random() < 0.5 else 1.0
    hue_shift = int(rng.integers(-18, 18)) * 2 / 60 if rng.random() < 0.5 else 0.0
    after = IDENTITY if contrast_first else _contrast(rng)
    table = reduce(lambda first, second: second[first], before)
    if saturation == 1 and hue_shift == 0:
        return _apply_table(levels, after[table])
    return _apply_table(shift_colours(_apply_table(levels, table), saturation, hue_shift), after)


def shift_colours(levels: Levels, saturation: float, hue_shift: float) -> Levels:
    """Scale the HSV saturation, up to that of a pure colour, and shift the hue by sixths of the circle."""
    height, width = levels.shape[1:]
    rows = max(1, PIXELS_AT_ONCE // width)
    changed = np.empty_like(levels)
    for top in range(0, height, rows):
        _shift_rows(levels[:, top : top + rows], saturation, hue_shift, out=changed[:, top : top + rows])
    return changed


def _shift_rows(levels: Levels, saturation: float, hue_shift: float, *, out: Levels) -> None:
    """Write each new channel: the highest channel, which stays the same, minus the new distance below it."""
    high = levels.max(axis=0)
    chroma = high - levels.min(axis=0)
    # Greys have no hue and no chroma: avoid the division by zero.
    divisor = np.maximum(chroma, 1).astype(np.float32)
    if hue_shift == 0:
        factor = np.minimum(high / divisor, np.float32(saturation))
        below = (high - levels) * (factor * ONE + 0.5).astype(np.uint16)
    else:
        below = _shares(_hue(levels, high, divisor) + np.int16(round(hue_shift * ONE)))
        below *= chroma if saturation == 1 else _saturated(chroma, saturation, high)
    # The sum stays below 2 ** 16: 255 * ONE, at most 127 from rounding the factor, and the half for rounding here.
    below += ONE // 2
    below >>= BITS
    np.subtract(high, below.astype(np.uint8), out=out)


def _saturated(chroma: Plane, saturation: float, high: Plane) -> Plane:
    scaled = chroma * np.float32(saturation)
    scaled += 0.5
    return np.minimum(scaled, high, out=scaled).astype(np.uint8)


def _hue(
    levels: Levels, high: Plane, chroma: Float32[np.ndarray, "height width"]
) -> Int16[np.ndarray, "height width"]:
    """Return the hue in sixths of the circle, -3 to 3 from red by way of green, in units of 1 / `ONE`.

    The lowest channel lies one chroma below the highest; the third moves between them with the hue. So in units of
    chroma the distance from red is 2, plus red's distance below the highest, minus those of green and blue.
    """
    red, green, blue = levels.astype(np.int16)
    sums = green + blue
    sums -= red
    sums -= high
    shares = sums / chroma
    shares += 2
    shares *= ONE
    away = shares.astype(np.int16)
    # Negate the hue on blue's side: xor with the difference's sign bits, then subtract them (two's complement).
    sign = green - blue
    sign >>= 15
    away ^= sign
    away -= sign
    return away


def _shares(hue: Int16[np.ndarray, "height width"]) -> UInt16[np.ndarray, "3 height width"]:
    """Return red's, green's and blue's distance below the highest channel, in shares of the chroma, for each hue."""
    away = hue - np.array([0, 2 * ONE, -2 * ONE], dtype=np.int16)[:, None, None]
    # The circle has length 6, so distances above 3 are shorter the other way; then the share is a trapezoid.
    np.abs(away, out=away)
    away -= 3 * ONE
    np.abs(away, out=away)
    np.subtract(2 * ONE, away, out=away)
    return np.clip(away, 0, ONE, out=away).view(np.uint16)


def _contrast(rng: np.random.Generator) -> Table:
    return _affine(scale=rng.uniform(0.5, 1.5)) if rng.random() < 0.5 else IDENTITY


def _affine(*, scale: float = 1.0, offset: float = 0.0) -> Table:
    return np.clip(IDENTITY.astype(np.float32) * scale + offset, 0, 255).astype(np.uint8)


def _apply_table(levels: Levels, table: Table) -> Levels:
    if np.array_equal(table, IDENTITY):
        return levels
    # `bytes.translate` is faster than numpy's `take`.
    replaced = bytearray(levels).translate(table.tobytes())
    return np.frombuffer(replaced, dtype=np.uint8).reshape(levels.shape)
