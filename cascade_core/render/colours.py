"""Colours that tell classes apart."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8
from PIL import ImageColor

IGNORED_COLOUR = (128, 128, 128)
CLOSE = 150.0
"""Nearer than this no two of the first 24 colours are."""
NUM_COLOURS = 1024
"""Distinct colours; classes beyond take them again from the first."""


def palette(num_classes: int, chosen: Sequence[str] = ()) -> UInt8[np.ndarray, "{num_classes} 3"]:
    """Give colours as far from one another as can be, the same for a class whatever their number.

    Each colour is the one farthest from all before it, and from black, white and the grey of ignored
    pixels, by weighted RGB distance, in which the eye's red, green and blue count 2 : 4 : 3. After 1,024
    colours they come again. `chosen`, as `LabelSet.colours`, goes before ("" leaves a class its own); a class
    whose colour is close to a chosen one takes one of those that no class has.
    """
    distinct = _distinct_colours()
    colours = distinct[np.arange(num_classes) % len(distinct)]
    # More are chosen than there are classes where background, the last, is none.
    fixed = {i: ImageColor.getrgb(colour)[:3] for i, colour in enumerate(chosen[:num_classes]) if colour}
    if not fixed:
        return colours
    taken = np.array(list(fixed.values()), dtype=float)
    spare = (colour for colour in distinct[num_classes:] if _distance(taken, colour).min() >= CLOSE)
    for i in range(num_classes):
        if i in fixed:
            colours[i] = fixed[i]
        elif _distance(taken, colours[i]).min() < CLOSE:
            colours[i] = next(spare, colours[i])
    return colours


@lru_cache(maxsize=1)
def _distinct_colours() -> UInt8[np.ndarray, "colours 3"]:
    levels = np.linspace(0, 255, 11)
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    taken = np.array([(0, 0, 0), (255, 255, 255), IGNORED_COLOUR])
    distances = np.min([_distance(candidates, colour) for colour in taken], axis=0)
    colours = np.zeros((NUM_COLOURS, 3), dtype=np.uint8)
    for i in range(NUM_COLOURS):
        farthest = candidates[distances.argmax()]
        distances = np.minimum(distances, _distance(candidates, farthest))
        colours[i] = farthest.round()
    return colours


def _distance(colours: Float[np.ndarray, "colours 3"], colour: np.ndarray) -> Float[np.ndarray, " colours"]:
    return np.sqrt(((colours - colour.astype(float)) ** 2 * (2, 4, 3)).sum(axis=1))
