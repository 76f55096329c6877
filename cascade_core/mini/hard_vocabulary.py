"""The classes of the benchmark mini-hard and their looks.

Things combine twelve two-colour palettes, five patterns and four outlines; thin things combine four plain palettes and
four thin outlines, so that colour alone names none; stuffs and backdrops combine six palettes and six textures. An
unseen class's palette, pattern and outline also occur among the seen classes in other combinations. Class names are single
nouns that do not name any of these attributes.
"""

from cascade_core.mini.captions import CAPTION_WORDS
from cascade_core.mini.vocabulary import PALETTES as MINI_PALETTES
from cascade_core.mini.world import Appearance, Palette

THIN = ("rod", "strand", "comb", "hoop")
"""The outlines of thin things."""

PALETTES: dict[str, Palette] = {
    **MINI_PALETTES,
    "pink_teal": ((232, 110, 160), (20, 104, 108)),
    "cyan_navy": ((74, 206, 214), (22, 34, 92)),
    "brown_cream": ((112, 66, 36), (238, 220, 178)),
    "lime_purple": ((168, 214, 58), (86, 40, 120)),
    "steel": ((186, 194, 202), (98, 106, 118)),
    "timber": ((184, 122, 62), (104, 62, 28)),
    "scarlet": ((232, 66, 52), (158, 22, 28)),
    "jade": ((60, 176, 122), (16, 96, 70)),
    "frost": ((236, 242, 246), (172, 194, 212)),
    "slate": ((140, 142, 148), (78, 80, 90)),
}

APPEARANCE: dict[str, Appearance] = {
    "zebra": Appearance("black_white", "stripes", "long"),
    "chessboard": Appearance("black_white", "checks", "square"),
    "panda": Appearance("black_white", "dots", "round"),
    "bee": Appearance("yellow_black", "stripes", "round"),
    "taxi": Appearance("yellow_black", "checks", "long"),
    "wasp": Appearance("yellow_black", "zigzag", "long"),
    "tiger": Appearance("orange_black", "stripes", "long"),
    "leopard": Appearance("orange_black", "dots", "long"),
    "snake": Appearance("red_black", "zigzag", "lobed"),
    "ladybug": Appearance("red_black", "dots", "round"),
    "target": Appearance("red_white", "rings", "round"),
    "mushroom": Appearance("red_white", "dots", "lobed"),
    "lollipop": Appearance("red_white", "stripes", "round"),
    "onion": Appearance("purple_white", "rings", "round"),
    "orchid": Appearance("purple_white", "dots", "lobed"),
    "plate": Appearance("blue_white", "rings", "round"),
    "quilt": Appearance("blue_white", "checks", "square"),
    "kite": Appearance("blue_white", "zigzag", "square"),
    "snail": Appearance("green_yellow", "rings", "lobed"),
    "turtle": Appearance("green_yellow", "checks", "square"),
    "melon": Appearance("green_yellow", "stripes", "long"),
    "parrot": Appearance("pink_teal", "zigzag", "long"),
    "seashell": Appearance("pink_teal", "rings", "lobed"),
    "fish": Appearance("cyan_navy", "zigzag", "lobed"),
    "whale": Appearance("cyan_navy", "dots", "long"),
    "cookie": Appearance("brown_cream", "dots", "round"),
    "basket": Appearance("brown_cream", "checks", "square"),
    "owl": Appearance("brown_cream", "stripes", "lobed"),
    "cabbage": Appearance("lime_purple", "rings", "round"),
    "lizard": Appearance("lime_purple", "checks", "long"),
    "mast": Appearance("steel", "plain", "rod"),
    "cable": Appearance("steel", "plain", "strand"),
    "wheel": Appearance("steel", "plain", "hoop"),
    "rope": Appearance("timber", "plain", "strand"),
    "fence": Appearance("timber", "plain", "comb"),
    "broom": Appearance("timber", "plain", "rod"),
    "rake": Appearance("scarlet", "plain", "comb"),
    "wreath": Appearance("jade", "plain", "hoop"),
    "grass": Appearance("leaf", "speckle"),
    "sand": Appearance("tan", "speckle"),
    "wood": Appearance("tan", "grain"),
    "bamboo": Appearance("leaf", "grain"),
    "water": Appearance("azure", "waves"),
    "lava": Appearance("rust", "waves"),
    "bricks": Appearance("rust", "tiles"),
    "pool": Appearance("azure", "tiles"),
    "ice": Appearance("frost", "blotches"),
    "moss": Appearance("leaf", "blotches"),
    "gravel": Appearance("slate", "speckle"),
    "hay": Appearance("tan", "weave"),
    # Backdrops, which are no classes:
    "wall": Appearance("tan", "plain"),
    "fog": Appearance("frost", "plain"),
    "carpet": Appearance("slate", "weave"),
    "curtain": Appearance("rust", "grain"),
}

WORDS: tuple[str, ...] = CAPTION_WORDS + tuple(APPEARANCE)
"""All words of captions."""
