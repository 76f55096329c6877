"""The classes of the mini benchmark, their looks, and the captions that name them.

Every class is a combination of palette and pattern: things combine eight two-colour palettes with four patterns,
stuffs four palettes with four textures. An unseen class's palette, pattern and outline also occur among the seen
classes in other combinations, so that no part of it is new to a segmentor trained on the seen classes. Class
names are single nouns that do not name any of these attributes.

A caption names things and stuffs as a person would, seen and unseen classes alike, but not their place or size.
The tiny CLIP learns from captions alone; label maps only serve to find the classes in view.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from cascade_core.datasets.mini import CLASSES
from cascade_core.errors import UserError


@dataclass(frozen=True)
class Appearance:
    """Names of a class's palette, pattern and, for things only, outline."""

    palette: str
    pattern: str
    outline: str | None = None


PALETTES = {
    "black_white": ((28, 28, 30), (235, 235, 230)),
    "yellow_black": ((240, 208, 40), (32, 28, 24)),
    "orange_black": ((236, 128, 28), (30, 24, 20)),
    "red_black": ((206, 30, 34), (26, 20, 24)),
    "red_white": ((214, 36, 44), (242, 236, 230)),
    "purple_white": ((142, 52, 168), (240, 232, 242)),
    "blue_white": ((40, 72, 196), (236, 240, 246)),
    "green_yellow": ((36, 124, 48), (226, 216, 84)),
    "tan": ((216, 186, 136), (142, 104, 62)),
    "rust": ((188, 80, 50), (92, 40, 36)),
    "azure": ((104, 172, 214), (42, 96, 152)),
    "leaf": ((116, 170, 72), (50, 92, 42)),
}
"""Each palette's figure colour and ground colour (RGB, 0 to 255)."""

APPEARANCE: dict[str, Appearance] = {
    "zebra": Appearance("black_white", "stripes", "long"),
    "chessboard": Appearance("black_white", "checks", "square"),
    "bee": Appearance("yellow_black", "stripes", "round"),
    "taxi": Appearance("yellow_black", "checks", "long"),
    "tiger": Appearance("orange_black", "stripes", "long"),
    "leopard": Appearance("orange_black", "dots", "long"),
    "snake": Appearance("red_black", "stripes", "lobed"),
    "ladybug": Appearance("red_black", "dots", "round"),
    "target": Appearance("red_white", "rings", "round"),
    "mushroom": Appearance("red_white", "dots", "lobed"),
    "onion": Appearance("purple_white", "rings", "round"),
    "orchid": Appearance("purple_white", "dots", "lobed"),
    "plate": Appearance("blue_white", "rings", "round"),
    "quilt": Appearance("blue_white", "checks", "square"),
    "snail": Appearance("green_yellow", "rings", "lobed"),
    "turtle": Appearance("green_yellow", "checks", "square"),
    "grass": Appearance("leaf", "speckle"),
    "sand": Appearance("tan", "speckle"),
    "wood": Appearance("tan", "grain"),
    "bamboo": Appearance("leaf", "grain"),
    "water": Appearance("azure", "waves"),
    "lava": Appearance("rust", "waves"),
    "bricks": Appearance("rust", "tiles"),
    "pool": Appearance("azure", "tiles"),
}

assert tuple(APPEARANCE) == CLASSES, "every class has an appearance, in the order of label ids"

THINGS: tuple[str, ...] = tuple(name for name in CLASSES if APPEARANCE[name].outline is not None)
STUFFS: tuple[str, ...] = tuple(name for name in CLASSES if APPEARANCE[name].outline is None)

FRAMES: tuple[str, ...] = (
    "a photo of {}", "a picture of {}", "an image of {}", "a close up of {}", "a view of {}",
    "a crop showing {}", "a scene with {}", "here is {}", "there is {}", "this is {}",
)  # fmt: skip
ARTICLES: tuple[str, ...] = ("a", "the", "some")
PREPOSITIONS: tuple[str, ...] = ("on", "in", "with")

MENTION_PROBABILITY = 0.4
"""Probability that the caption of a whole scene mentions a class in view."""

SMALLEST_SHARE = 0.06
"""Share of a picture that a class must cover to be in view."""

CAPTION_WORDS: tuple[str, ...] = (
    "a", "an", "and", "close", "crop", "here", "image", "in", "is", "of", "on",
    "photo", "picture", "scene", "showing", "some", "the", "there", "this", "up", "view", "with",
)  # fmt: skip

WORDS: tuple[str, ...] = CAPTION_WORDS + CLASSES
"""All words of captions; with padding, start and end the tokenizer has 49 tokens."""


def names_in_view(labels: UInt8[np.ndarray, "pictures height width"]) -> list[list[str]]:
    """Return, per picture, the classes that cover at least `SMALLEST_SHARE` of it, in the order of `CLASSES`.

    The largest class is always included.
    """
    count = len(labels)
    rows = np.arange(count)[:, None] * len(CLASSES)
    areas = np.bincount((labels.reshape(count, -1) + rows).ravel(), minlength=count * len(CLASSES))
    areas = areas.reshape(count, len(CLASSES))
    in_view = areas >= np.minimum(SMALLEST_SHARE * labels[0].size, areas.max(axis=1))[:, None]
    return [[CLASSES[index] for index in np.flatnonzero(row)] for row in in_view]


def caption(rng: np.random.Generator, names: Sequence[str]) -> str:
    """Return a caption of all `names`, at least one, in random order and wording, things before stuffs."""
    if not names:
        raise UserError("a caption needs at least one class name; the picture's names are empty")
    shuffled = [names[index] for index in rng.permutation(len(names))]
    things = _listing(rng, [name for name in shuffled if name in THINGS])
    stuffs = _listing(rng, [name for name in shuffled if name not in THINGS])
    preposition = f" {PREPOSITIONS[rng.integers(len(PREPOSITIONS))]} " if things and stuffs else ""
    return FRAMES[rng.integers(len(FRAMES))].format(things + preposition + stuffs)


def random_part(rng: np.random.Generator, names: Sequence[str]) -> list[str]:
    """Return a random part of `names`, at least one: people rarely mention all they see."""
    mentioned = rng.random(len(names)) < MENTION_PROBABILITY
    mentioned[rng.integers(len(names))] |= not mentioned.any()
    return [name for name, mention in zip(names, mentioned, strict=True) if mention]


def _listing(rng: np.random.Generator, names: Sequence[str]) -> str:
    return " and ".join(f"{ARTICLES[rng.integers(len(ARTICLES))]} {name}" for name in names)
