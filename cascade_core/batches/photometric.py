"""Random changes of brightness, contrast, saturation and hue (mmsegmentation's `PhotoMetricDistortion`).

Everything is drawn first. Then consecutive changes of brightness and contrast are one table of 256 levels, and
saturation and hue change together, a plane per channel: what the detour over HSV gives, without its 8-bit hues.
"""

from dataclasses import dataclass
from functools import reduce

import numpy as np
from jaxtyping import Float32, Int16, UInt8, UInt16

Levels = UInt8[np.ndarray, "3 height width"]
"""Red, green and blue planes."""
Plane = UInt8[np.ndarray, "height width"]
Table = UInt8[np.ndarray, "256"]
PIXELS_AT_ONCE = 2**16
"""So that what is computed on the way stays in a core's own cache."""
BITS = 8
ONE = 1 << BITS
"""Of shares and of sixths of the circle in fixed point: six times as fine as 8-bit hues are."""
IDENTITY: Table = np.arange(256, dtype=np.uint8)


@dataclass(frozen=True)
class Colours:
    """One draw: a table for before, the factor of saturation, the turn of hue in sixths, a table for after."""

    before: Table
    saturation: float
    turn: float
    after: Table


def photometric_distortion(levels: Levels, rng: np.random.Generator) -> Levels:
    """Distort brightness, contrast, saturation and hue, each with probability one half.

    Contrast comes before or after saturation and hue, by a coin. Values are cut to 8 bits after each step, but
    for those of saturation where hue follows. Hue moves by whole steps of two degrees, -36 to 34.
    """
    return recoloured(levels, drawn(rng))


def drawn(rng: np.random.Generator) -> Colours:
    """Draw the changes in the published order, in which earlier coins decide what is drawn later."""
    before = [IDENTITY]
    if rng.random() < 0.5:
        before.append(_affine(offset=rng.uniform(-32, 32)))
    contrast_first = rng.random() < 0.5
    if contrast_first:
        before.append(_contrast(rng))
    saturation = rng.uniform(0.5, 1.5) if rng.random() < 0.5 else 1.0
    turn = int(rng.integers(-18, 18)) * 2 / 60 if rng.random() < 0.5 else 0.0
    after = IDENTITY if contrast_first else _contrast(rng)
    return Colours(reduce(lambda first, second: second[first], before), saturation, turn, after)


def recoloured(levels: Levels, colours: Colours) -> Levels:
    """Apply one draw."""
    if colours.saturation == 1 and colours.turn == 0:
        return _looked_up(levels, colours.after[colours.before])
    levels = _looked_up(levels, colours.before)
    return _looked_up(turned(levels, colours.saturation, colours.turn), colours.after)


def turned(levels: Levels, saturation: float, turn: float) -> Levels:
    """Scale the saturation of HSV, at most to that of a pure colour, and turn its hue by sixths of the circle."""
    height, width = levels.shape[1:]
    rows = max(1, PIXELS_AT_ONCE // width)
    changed = np.empty_like(levels)
    for top in range(0, height, rows):
        _turn(levels[:, top : top + rows], saturation, turn, out=changed[:, top : top + rows])
    return changed


def _turn(levels: Levels, saturation: float, turn: float, *, out: Levels) -> None:
    """Write the highest channel, which stays, minus what each new one lies below it."""
    high = levels.max(axis=0)
    chroma = high - levels.min(axis=0)
    # Where all are equal there is no hue, and nothing to divide.
    divisor = np.maximum(chroma, 1).astype(np.float32)
    if turn == 0:
        factor = np.minimum(high / divisor, np.float32(saturation))
        below = (high - levels) * (factor * ONE + 0.5).astype(np.uint16)
    else:
        below = _shares(_hue(levels, high, divisor) + np.int16(round(turn * ONE)))
        below *= chroma if saturation == 1 else _saturated(chroma, saturation, high)
    # 255 * ONE, what rounding added to the factor (127 at most) and the half that rounds stay below 2 ** 16.
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

    Below the highest channel (by 0 itself), another lies by the chroma, and the hue moves the third between them.
    So in units of chroma the distance from red is 2 plus what red lies below it minus what green and blue do.
    """
    red, green, blue = levels.astype(np.int16)
    sums = green + blue
    sums -= red
    sums -= high
    shares = sums / chroma
    shares += 2
    shares *= ONE
    away = shares.astype(np.int16)
    # Negated towards blue: all bits of the difference's sign turn it over, and take one off.
    sign = green - blue
    sign >>= 15
    away ^= sign
    away -= sign
    return away


def _shares(hue: Int16[np.ndarray, "height width"]) -> UInt16[np.ndarray, "3 height width"]:
    """Tell by how much of the chroma red, green and blue of a hue lie below the highest: trapezoids of the circle."""
    away = hue - np.array([0, 2 * ONE, -2 * ONE], dtype=np.int16)[:, None, None]
    # Once around is 6, so a distance above 3 is shorter the other way; then 0 up to 1, and 1 from 2 on.
    np.abs(away, out=away)
    away -= 3 * ONE
    np.abs(away, out=away)
    np.subtract(2 * ONE, away, out=away)
    return np.clip(away, 0, ONE, out=away).view(np.uint16)


def _contrast(rng: np.random.Generator) -> Table:
    return _affine(scale=rng.uniform(0.5, 1.5)) if rng.random() < 0.5 else IDENTITY


def _affine(*, scale: float = 1.0, offset: float = 0.0) -> Table:
    return np.clip(IDENTITY.astype(np.float32) * scale + offset, 0, 255).astype(np.uint8)


def _looked_up(levels: Levels, table: Table) -> Levels:
    if np.array_equal(table, IDENTITY):
        return levels
    # Faster than numpy's `take`.
    replaced = bytearray(levels).translate(table.tobytes())
    return np.frombuffer(replaced, dtype=np.uint8).reshape(levels.shape)
