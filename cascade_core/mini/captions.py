"""Captions of pictures of a world.

A caption names things and stuffs as a person would, seen and unseen classes alike, but not their place or size.
The tiny CLIP learns from captions alone; label maps only serve to find the materials in view.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from cascade_core.errors import UserError
from cascade_core.mini.world import World

FRAMES: tuple[str, ...] = (
    "a photo of {}", "a picture of {}", "an image of {}", "a close up of {}", "a view of {}",
    "a crop showing {}", "a scene with {}", "here is {}", "there is {}", "this is {}",
)  # fmt: skip
ARTICLES: tuple[str, ...] = ("a", "the", "some")
PREPOSITIONS: tuple[str, ...] = ("on", "in", "with")

MENTION_PROBABILITY = 0.4
"""Probability that the caption of a whole scene mentions a class in view."""

CAPTION_WORDS: tuple[str, ...] = (
    "a", "an", "and", "close", "crop", "here", "image", "in", "is", "of", "on",
    "photo", "picture", "scene", "showing", "some", "the", "there", "this", "up", "view", "with",
)  # fmt: skip


def names_in_view(world: World, labels: UInt8[np.ndarray, "pictures height width"]) -> list[list[str]]:
    """Return, per picture, the materials that cover at least their smallest share of it, in the order of ids.

    The largest one is always included.
    """
    count, num_materials = len(labels), len(world.materials)
    rows = np.arange(count)[:, None] * num_materials
    areas = np.bincount((labels.reshape(count, -1) + rows).ravel(), minlength=count * num_materials)
    areas = areas.reshape(count, num_materials)
    in_view = areas >= np.minimum(world.smallest_shares * labels[0].size, areas.max(axis=1)[:, None])
    return [[world.materials[index] for index in np.flatnonzero(row)] for row in in_view]


def caption(world: World, rng: np.random.Generator, names: Sequence[str]) -> str:
    """Return a caption of all `names`, at least one, in random order and wording, things before stuffs."""
    if not names:
        raise UserError("a caption needs at least one class name; the picture's names are empty")
    shuffled = [names[index] for index in rng.permutation(len(names))]
    things = _listing(rng, [name for name in shuffled if name in world.things])
    stuffs = _listing(rng, [name for name in shuffled if name not in world.things])
    preposition = f" {PREPOSITIONS[rng.integers(len(PREPOSITIONS))]} " if things and stuffs else ""
    return FRAMES[rng.integers(len(FRAMES))].format(things + preposition + stuffs)


def random_part(rng: np.random.Generator, names: Sequence[str]) -> list[str]:
    """Return a random part of `names`, at least one: people rarely mention all they see."""
    mentioned = rng.random(len(names)) < MENTION_PROBABILITY
    mentioned[rng.integers(len(names))] |= not mentioned.any()
    return [name for name, mention in zip(names, mentioned, strict=True) if mention]


def _listing(rng: np.random.Generator, names: Sequence[str]) -> str:
    return " and ".join(f"{ARTICLES[rng.integers(len(ARTICLES))]} {name}" for name in names)
