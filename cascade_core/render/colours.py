"""Distinct colours for classes."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8
from PIL import ImageColor

IGNORED_COLOUR = (128, 128, 128)
CLOSE = 150.0
"""The least distance between any two of the first 24 colours."""
NUM_COLOURS = 1024
"""The number of distinct colours; further classes repeat them from the first."""


def palette(num_classes: int, colours: Sequence[str] = ()) -> UInt8[np.ndarray, "{num_classes} 3"]:
    """Return a distinct colour for each class, which does not depend on the number of classes.

    Each colour is the farthest from black, white, the grey of ignored pixels and all earlier colours; the RGB
    distance is weighted 2 : 4 : 3 for the eye. After 1,024 colours they repeat.

    Custom `colours`, as in `LabelSet.colours`, take precedence ("" keeps the default). If a class's default is close
    to a custom colour, the class gets a default that no other class uses.
    """
    distinct = _distinct_colours()
    table = distinct[np.arange(num_classes) % len(distinct)]
    # The last custom colour may be that of background, which need not be a class here.
    custom = {i: ImageColor.getrgb(colour)[:3] for i, colour in enumerate(colours[:num_classes]) if colour}
    if not custom:
        return table
    taken = np.array(list(custom.values()), dtype=float)
    spare = (colour for colour in distinct[num_classes:] if _distance(taken, colour).min() >= CLOSE)
    for i in range(num_classes):
        if i in custom:
            table[i] = custom[i]
        elif _distance(taken, table[i]).min() < CLOSE:
            table[i] = next(spare, table[i])
    return table


def hex_colour(levels: Sequence[int] | UInt8[np.ndarray, "3"]) -> str:
    """Return red, green and blue in 0..255 as "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*levels)


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
