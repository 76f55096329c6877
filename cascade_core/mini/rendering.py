"""Renderings of a world: the same materials as photographs, or as drawings in ink and pale colours on paper."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from cascade_core.mini.textures import TURN, Draws, Field, pattern

Colours = Float32[np.ndarray, "pictures height width 3"]


@dataclass(frozen=True)
class Rendering:
    """How patterns, colours, rims and light become a picture.

    Attributes:
        pattern: as `textures.pattern`, with coordinates in pixels of the pattern's own scale.
        scales: smallest and largest scale of patterns.
        paper: share of white in each colour.
        ink: width in pixels of the dark line inside a thing's rim.
        light: adds light and noise to an image, given each pixel's place as shares of the scene, and rounds to 0..255.
    """

    pattern: Callable[[str, Field, Field, Draws], Field]
    scales: tuple[float, float]
    paper: float
    ink: float
    light: Callable[
        [np.random.Generator, Colours, Field, Field], UInt8[np.ndarray, "pictures height width 3"]
    ]


def hatched(name: str, u: Field, v: Field, draws: Draws) -> Field:
    """Draw a pattern by an unsteady hand, with sharp edges and hatching in its figure."""
    phase, second = TURN * draws[0], TURN * draws[1]
    unsteady_u = u + 1.1 * np.sin(TURN * v / 15 + second)
    unsteady_v = v + 1.1 * np.sin(TURN * u / 19 + phase)
    share = np.clip(3 * pattern(name, unsteady_u, unsteady_v, draws) - 1, 0, 1)
    return share * (0.8 + 0.2 * np.sin(TURN * (u + 0.6 * v) / 2.7 + phase))


def daylight(
    rng: np.random.Generator, image: Colours, x: Field, y: Field
) -> UInt8[np.ndarray, "pictures height width 3"]:
    """Add shade from one side, random brightness, tint and noise."""
    count, size = image.shape[:2]
    slope_x, slope_y = rng.uniform(-0.2, 0.2, (2, count, 1, 1)).astype(np.float32)
    shade = 1 + slope_x * (x - 0.5) + slope_y * (y - 0.5)
    gain = (rng.normal(1, 0.09, (count, 1, 1, 1)) * rng.normal(1, 0.04, (count, 1, 1, 3))).astype(np.float32)
    noise = rng.standard_normal((count, size, size, 3), dtype=np.float32)
    strength = rng.uniform(3, 11, (count, 1, 1, 1)).astype(np.float32)
    return _rounded(image * shade[..., None] * gain + strength * noise)


def scanned(
    rng: np.random.Generator, image: Colours, x: Field, y: Field
) -> UInt8[np.ndarray, "pictures height width 3"]:
    """Add the grain of paper, the same in all three colours, and random brightness."""
    count, size = image.shape[:2]
    gain = rng.normal(1, 0.05, (count, 1, 1, 1)).astype(np.float32)
    grain = rng.standard_normal((count, size, size, 1), dtype=np.float32)
    return _rounded(image * gain + 6 * grain)


def _rounded(image: Colours) -> UInt8[np.ndarray, "pictures height width 3"]:
    return np.clip(image, 0, 255).round().astype(np.uint8)


PHOTOGRAPH = Rendering(pattern, scales=(0.85, 1.18), paper=0.0, ink=0.0, light=daylight)
DRAWING = Rendering(hatched, scales=(1.0, 1.35), paper=0.35, ink=1.2, light=scanned)
