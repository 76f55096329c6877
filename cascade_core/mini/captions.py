"""Captions of mini pictures: templates filled with the names of what can be seen.

A caption says what a person would: which things and stuffs are there, seen and
unseen classes alike, and neither where nor how much. This is all the tiny CLIP
ever learns from; the label maps serve only to know what is in the picture.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from cascade_core.datasets.mini import CLASSES
from cascade_core.errors import UserError
from cascade_core.mini.vocabulary import THINGS

FRAMES: tuple[str, ...] = (
    "a photo of {}", "a picture of {}", "an image of {}", "a close up of {}", "a view of {}",
    "a crop showing {}", "a scene with {}", "here is {}", "there is {}", "this is {}",
)  # fmt: skip
ARTICLES: tuple[str, ...] = ("a", "the", "some")
PREPOSITIONS: tuple[str, ...] = ("on", "in", "with")

MENTIONED = 0.4
"""How often a class of a whole scene is mentioned."""

SMALLEST_SHARE = 0.06
"""Part of the picture that a class must cover to be mentioned."""


def names_in_view(labels: UInt8[np.ndarray, "pictures height width"]) -> list[list[str]]:
    """Return, per picture, the classes covering at least `SMALLEST_SHARE` of it, in the order of `CLASSES`.

    The largest class is always named, however small its share.
    """
    count = len(labels)
    rows = np.arange(count)[:, None] * len(CLASSES)
    areas = np.bincount((labels.reshape(count, -1) + rows).ravel(), minlength=count * len(CLASSES))
    areas = areas.reshape(count, len(CLASSES))
    enough = areas >= np.minimum(SMALLEST_SHARE * labels[0].size, areas.max(axis=1))[:, None]
    return [[CLASSES[index] for index in np.flatnonzero(row)] for row in enough]


def caption(rng: np.random.Generator, names: Sequence[str]) -> str:
    """Return one caption naming all of `names`, in random order and wording, things before stuffs.

    UserError if there is nothing to name.
    """
    if not names:
        raise UserError("a caption needs at least one class name; the picture's names are empty")
    shuffled = [names[index] for index in rng.permutation(len(names))]
    things = _listing(rng, [name for name in shuffled if name in THINGS])
    stuffs = _listing(rng, [name for name in shuffled if name not in THINGS])
    preposition = f" {PREPOSITIONS[rng.integers(len(PREPOSITIONS))]} " if things and stuffs else ""
    return FRAMES[rng.integers(len(FRAMES))].format(things + preposition + stuffs)


def captions(rng: np.random.Generator, names: Sequence[Sequence[str]]) -> list[str]:
    """Return one caption for each picture's names."""
    return [caption(rng, named) for named in names]


def some_of(rng: np.random.Generator, names: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return a random part of each picture's names, at least one: people rarely mention all they see."""
    parts = []
    for named in names:
        mentioned = rng.random(len(named)) < MENTIONED
        mentioned[rng.integers(len(named))] |= not mentioned.any()
        parts.append([name for name, kept in zip(named, mentioned, strict=True) if kept])
    return parts


def _listing(rng: np.random.Generator, names: Sequence[str]) -> str:
    return " and ".join(f"{ARTICLES[rng.integers(len(ARTICLES))]} {name}" for name in names)
