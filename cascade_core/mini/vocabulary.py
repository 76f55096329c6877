"""The words of the mini benchmark: its classes, what each looks like, and what captions say.

Every class is a *combination*: a thing is one of eight two-colour palettes with
one of four patterns, a stuff one of four palettes with one of four textures.
Each unseen class's palette, pattern and outline also occur among the seen
classes, in other combinations, so that nothing an unseen class consists of is
new to a segmentor trained on the seen ones. The names are single nouns that
spell out none of these attributes.
"""

from dataclasses import dataclass

from cascade_core.datasets.mini import CLASSES

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Appearance:
    """What a class looks like: names of a palette, a pattern and (things only) an outline."""

    palette: str
    pattern: str
    outline: str | None = None


PALETTES: dict[str, tuple[Colour, Colour]] = {
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
"""Two colours (RGB, 0 to 255) under each name; the first is the figure, the second the ground."""

THING_PATTERNS = ("stripes", "dots", "checks", "rings")
STUFF_PATTERNS = ("speckle", "grain", "waves", "tiles")
OUTLINES = ("round", "long", "square", "lobed")

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

assert tuple(APPEARANCE) == CLASSES, "an appearance for each class, in the order of the label ids"

THINGS: tuple[str, ...] = tuple(name for name, look in APPEARANCE.items() if look.outline is not None)
STUFFS: tuple[str, ...] = tuple(name for name, look in APPEARANCE.items() if look.outline is None)

CAPTION_WORDS: tuple[str, ...] = (
    "a", "an", "and", "close", "crop", "here", "image", "in", "is", "of", "on",
    "photo", "picture", "scene", "showing", "some", "the", "there", "this", "up", "view", "with",
)  # fmt: skip

WORDS: tuple[str, ...] = CAPTION_WORDS + CLASSES
"""Every word a caption may hold; with padding, start and end the vocabulary has 49 tokens."""
