"""The data set of the mini benchmark: 24 classes in synthetic pictures (`cascade_core/mini`), in Pascal VOC's layout."""

from cascade_core.data.layouts import VocLayout
from cascade_core.datasets.data_set import DataSet, class_names
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_set import LabelSet, ranked_table, reduce_zero_table

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

SEEN = tuple(name for name in CLASSES if name not in UNSEEN)
HELD_OUT = {
    "mini-13-5a": ("zebra", "ladybug", "plate", "turtle", "bamboo"),
    "mini-13-5b": ("chessboard", "snake", "quilt", "snail", "pool"),
}
"""Seen classes that play the unseen ones while methods are developed. As for `UNSEEN`, the other classes have their palettes and patterns."""
_SEEN_LABELS = LabelSet(
    "mini18",
    SEEN,
    ranked_table(
        [1 + CLASSES.index(name) for name in SEEN], ignored=(0, *(1 + CLASSES.index(name) for name in UNSEEN))
    ),
)
"""The seen classes alone: pixels of the six unseen ones are unlabelled, in trainings and in scores."""

MINI = DataSet(
    name="mini",
    title="the mini benchmark",
    layout=VocLayout(),
    protocols=(
        ClassSplit("mini-18-6", LabelSet("mini24", CLASSES, reduce_zero_table(24)), UNSEEN),
        *(ClassSplit(name, _SEEN_LABELS, names) for name, names in HELD_OUT.items()),
    ),
)
