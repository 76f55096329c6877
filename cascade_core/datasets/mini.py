"""The mini benchmark's data set: 24 classes of drawn pictures, laid out as Pascal VOC; `cascade_core/mini` draws it."""

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
"""Things first, then stuffs; the position of a name is its label id."""
UNSEEN = ("tiger", "mushroom", "taxi", "onion", "sand", "lava")
TEMPLATES = ("a photo of a {}", "a picture of the {}", "a close up of a {}")
"""Prompts whose text vectors are averaged into one class vector; each is among the caption templates."""

_LABELS = LabelSet("mini24", CLASSES, reduce_zero_table(len(CLASSES)))

MINI = DataSet(
    name="mini",
    title="the mini benchmark",
    layout=VocLayout(),
    protocols=(ClassSplit("mini-18-6", _LABELS, UNSEEN),),
)
