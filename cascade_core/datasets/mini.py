"""The data set of the mini benchmark: 24 classes in synthetic pictures (`cascade_core/mini`), in Pascal VOC's layout."""

from cascade_core.data.layouts import VocLayout
from cascade_core.datasets.data_set import DataSet, class_names
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_set import LabelSet, reduce_zero_table

CLASSES = class_names(
    """
    zebra, chessboard, bee, taxi, tiger, leopard, snake, ladybug, target, mushroom, onion, orchid, plate, quilt,
    snail, turtle, grass, sand, wood, bamboo, water, lava, bricks, pool
    """
)
"""The classes: things, then stuff; the position of a name is its train id."""
UNSEEN = ("tiger", "mushroom", "taxi", "onion", "sand", "lava")
TEMPLATES = ("a photo of a {}", "a picture of the {}", "a close up of a {}")
"""Prompts whose text vectors are averaged into a class vector; all of them are caption templates too."""

MINI = DataSet(
    name="mini",
    title="the mini benchmark",
    layout=VocLayout(),
    protocols=(ClassSplit("mini-18-6", LabelSet("mini24", CLASSES, reduce_zero_table(24)), UNSEEN),),
)
