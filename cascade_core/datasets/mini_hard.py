"""The data sets of the benchmark mini-hard: 50 classes and background in synthetic scenes, and the same words as drawings."""

from cascade_core.data.layouts import VocLayout
from cascade_core.datasets.data_set import DataSet, class_names
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_set import LabelSet, reduce_zero_table

CLASSES = class_names(
    """
    zebra, chessboard, panda, bee, taxi, wasp, tiger, leopard, snake, ladybug, target, mushroom, lollipop, onion, orchid,
    plate, quilt, kite, snail, turtle, melon, parrot, seashell, fish, whale, cookie, basket, owl, cabbage, lizard,
    mast, cable, wheel, rope, fence, broom, rake, wreath,
    grass, sand, wood, bamboo, water, lava, bricks, pool, ice, moss, gravel, hay
    """
)
"""The classes: things, thin things, then stuff; the position of a name is its train id."""
UNSEEN = (
    "taxi", "tiger", "mushroom", "onion", "kite", "seashell", "cookie", "lizard", "wheel", "broom", "sand", "lava",
)  # fmt: skip


def _labels(name: str) -> LabelSet:
    return LabelSet(name, CLASSES, reduce_zero_table(len(CLASSES)), background_ids=(0,))


MINI_HARD = DataSet(
    name="mini_hard",
    title="the benchmark mini-hard",
    layout=VocLayout(),
    protocols=(ClassSplit("mini-hard-38-12", _labels("minihard50"), UNSEEN),),
)
MINI_HARD_DRAWN = DataSet(
    name="mini_hard_drawn",
    title="the benchmark mini-hard, as drawings",
    layout=VocLayout(),
    protocols=(ClassSplit("mini-hard-drawn-38-12", _labels("minihard50drawn"), UNSEEN),),
)
