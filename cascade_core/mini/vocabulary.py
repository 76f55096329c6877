"""The classes of the mini benchmark and their looks.

Every class is a combination of palette and pattern: things combine eight two-colour palettes with four patterns,
stuffs four palettes with four textures. An unseen class's palette, pattern and outline also occur among the seen
classes in other combinations, so that no part of it is new to a segmentor trained on the seen classes. Class
names are single nouns that do not name any of these attributes.
"""

from cascade_core.datasets.mini import CLASSES
from cascade_core.mini.captions import CAPTION_WORDS
from cascade_core.mini.world import Appearance

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

WORDS: tuple[str, ...] = CAPTION_WORDS + CLASSES
"""All words of captions; with padding, start and end the tokenizer has 49 tokens."""
