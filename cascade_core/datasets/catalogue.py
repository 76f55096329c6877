"""The public data sets, and their label sets and class splits by name: every protocol numbers are published under.

A label file (`labels/label_file.py`) describes a label set of one's own, and its path stands wherever a protocol's
name does.
"""

from pathlib import Path

from cascade_core.data.layouts import Layout
from cascade_core.datasets.ade20k import ADE20K
from cascade_core.datasets.cocostuff import COCOSTUFF
from cascade_core.datasets.context import CONTEXT
from cascade_core.datasets.data_set import DataSet
from cascade_core.datasets.mini import MINI
from cascade_core.datasets.voc12 import VOC12
from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit, split_of
from cascade_core.labels.label_set import LabelSet

DATA_SETS = (VOC12, CONTEXT, COCOSTUFF, ADE20K, MINI)


def data_set(name: str) -> DataSet:
    """Give a data set by name.

    Raises:
        UserError: no data set has this name.
    """
    known = {one.name: one for one in DATA_SETS}
    if name not in known:
        raise UserError(f"unknown data set {name!r}; known are {', '.join(known)}")
    return known[name]


def label_sets() -> tuple[LabelSet, ...]:
    """Give the label sets of all data sets."""
    return tuple(labels for one in DATA_SETS for labels in one.label_sets)


def label_set(name: str) -> LabelSet:
    """Give a label set by name.

    Raises:
        UserError: no label set has this name.
    """
    known = {labels.name: labels for labels in label_sets()}
    if name not in known:
        raise UserError(f"unknown label set {name!r}; known are {', '.join(known)}")
    return known[name]


def protocols() -> tuple[ClassSplit, ...]:
    """Give the class splits of all data sets."""
    return tuple(split for one in DATA_SETS for split in one.protocols)


def protocol(name: str) -> ClassSplit:
    """Give a class split by name, or that of a label file, whose path `name` then is.

    Raises:
        UserError: no protocol has this name, or the label file is missing or wrong.
    """
    from cascade_core.labels.label_file import is_label_file, read_label_file  # slow to import

    if is_label_file(name):
        return split_of(read_label_file(Path(name)))
    known = {split.name: split for split in protocols()}
    if name not in known:
        raise UserError(
            f"unknown protocol {name!r}; known are {', '.join(known)}, or give the path of a label file (.yaml)"
        )
    return known[name]


def layout_of(labels: LabelSet) -> Layout | None:
    """Give the layout that label maps of a label set are published in; None for one of a label file."""
    return next((one.layout for one in DATA_SETS if labels in one.label_sets), None)
