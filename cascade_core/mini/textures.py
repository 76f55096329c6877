"""Patterns and outlines of the mini world as functions of coordinates, for many pictures at a time."""

import numpy as np
from jaxtyping import Float32

from cascade_core.errors import UserError

Field = Float32[np.ndarray, "pictures height width"]
PerPicture = Float32[np.ndarray, "pictures 1 1"]
Draws = Float32[np.ndarray, "draws pictures 1 1"]

TURN = np.float32(2 * np.pi)
NUM_DRAWS = 4
"""Number of random numbers in 0..1 for the pattern of a layer, and again for its outline."""


def pattern(name: str, u: Field, v: Field, draws: Draws) -> Field:
    """Return the share (0..1) of the class's figure colour at every pixel; an unknown pattern raises UserError.

    `u` and `v` are rotated and scaled coordinates in pixels; `draws` are `NUM_DRAWS` random numbers in 0..1 per
    picture, such as phases.
    """
    phase, second, third, fourth = TURN * draws
    match name:
        case "stripes":
            bend = np.sin(TURN * v / 30 + second)
            return _soft(np.sin(TURN * u / 7.5 + bend + phase), 2.5)
        case "dots":
            return _soft(np.cos(TURN * u / 7.5 + phase) + np.cos(TURN * v / 7.5 + second) - 0.35, 1.8)
        case "checks":
            return _soft(np.sin(TURN * u / 9 + phase) * np.sin(TURN * v / 9 + second), 3.5)
        case "rings":
            return _soft(np.sin(TURN * np.hypot(u, v) / 8 + phase), 2.5)
        case "speckle":
            waves = (
                np.sin(TURN * (u + 0.4 * v) / 3.1 + phase)
                + np.sin(TURN * (0.9 * v - 0.5 * u) / 3.7 + second)
                + np.sin(TURN * (u - 0.8 * v) / 4.6 + third)
            )
            return _soft(waves * np.sin(TURN * (u + v) / 11 + fourth), 0.5)
        case "grain":
            bend = 1.6 * np.sin(TURN * v / 38 + second)
            coarse = np.sin(TURN * u / 6.5 + bend + phase)
            fine = np.sin(TURN * u / 2.9 + 1.5 * bend + third)
            return _soft(0.8 * coarse + 0.5 * fine, 0.6)
        case "waves":
            crest = v + 2.2 * np.sin(TURN * u / 13 + phase) + 0.9 * np.sin(TURN * u / 7.3 + second)
            return _soft(np.sin(TURN * crest / 6.5 + third) + 0.2, 0.9)
        case "zigzag":
            teeth = np.abs(2 * ((u / 10 + draws[0]) % 1) - 1)
            return _soft(np.sin(TURN * (v + 4.5 * teeth) / 7 + second), 2.5)
        case "weave":
            across = _soft(np.sin(TURN * u / 13 + phase) * np.sin(TURN * v / 13 + second), 4.0)
            return _soft(across * np.sin(TURN * u / 3.7) + (1 - across) * np.sin(TURN * v / 3.7), 0.9)
        case "blotches":
            waves = (
                np.sin(TURN * (u + 0.3 * v) / 13 + phase)
                + np.sin(TURN * (v - 0.4 * u) / 10 + second)
                + np.sin(TURN * (0.7 * u + 0.8 * v) / 17 + third)
            )
            return _soft(waves, 0.8)
        case "plain":
            return _soft(np.sin(TURN * (u + v) / 60 + phase), 0.35)
        case "tiles":
            return _tiles(u + 12 * draws[0], v + 7 * draws[1])
        case _:
            raise UserError(f"there is no pattern {name!r}; see the vocabularies in cascade_core/mini")


def outline(name: str, x: Field, y: Field, draws: Draws) -> Field:
    """Return the distance to the rim of a thing, positive inside and negative outside; UserError for an unknown name.

    Lengths are in units of the thing's radius. Irregular blobs, varied by two random harmonics, have 1 at the centre;
    thin things have half their thickness.
    """
    match name:
        case "rod":
            return _bar(x, y, width=0.09)
        case "strand":
            return _bar(x, y - 0.17 * np.sin(4.4 * x + TURN * draws[0]), width=0.075)
        case "comb":
            teeth = [_bar(y - 0.05, x - place, width=0.055, length=0.6) for place in (-0.6, 0, 0.6)]
            return np.maximum.reduce([_bar(x, y + 0.55, width=0.065, length=0.68), *teeth])
        case "hoop":
            return 0.08 - np.abs(np.hypot(x, y) - 0.75)
        case "round":
            distance = np.hypot(x, y)
        case "long":
            distance = np.hypot(x / 1.3, y / 0.75)
        case "square":
            distance = 1.12 * (np.abs(x) ** 4 + np.abs(y) ** 4) ** 0.25
        case "lobed":
            distance = np.hypot(x, y) / (1 + 0.16 * np.cos(5 * np.arctan2(y, x)))
        case _:
            raise UserError(f"there is no outline {name!r}; see the vocabularies in cascade_core/mini")
    angle = np.arctan2(y, x)
    wobble = 0.11 * np.cos(2 * angle + TURN * draws[0]) * draws[1]
    wobble = wobble + 0.09 * np.cos(3 * angle + TURN * draws[2]) * draws[3]
    return 1 - distance / (1 + wobble)


def _bar(along: Field, across: Field, *, width: float, length: float = 1.0) -> Field:
    """Return the depth inside a bar; `width` and `length` are halves."""
    return np.minimum(width - np.abs(across), length - np.abs(along))


def _soft(wave: Field, slope: float) -> Field:
    return np.clip(0.5 + slope * wave, 0, 1)


def _tiles(u: Field, v: Field) -> Field:
    """Return bricks of 12 x 7 pixels, every second row shifted by half, with joints in the ground colour."""
    row = np.floor(v / 7)
    along = u / 12 + 0.5 * (row % 2)
    column = np.floor(along)
    across_edge = 3.5 - 7 * np.abs(v / 7 - row - 0.5)
    along_edge = 6 - 12 * np.abs(along - column - 0.5)
    tone = 0.84 + 0.16 * np.sin(12.9 * row + 7.7 * column)
    return tone * np.clip(1.2 * np.minimum(across_edge, along_edge) - 0.3, 0, 1)
