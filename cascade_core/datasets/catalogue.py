"""Look up public data sets, label sets and protocols (class splits) by name.

The path of a label file (`labels/label_file.py`), which describes a user's own label set, is a protocol name too.
"""

from pathlib import Path

from cascade_core.data.layouts import Layout
from cascade_core.datasets.ade20k import ADE20K
from cascade_core.datasets.cocostuff import COCOSTUFF
from cascade_core.datasets.context import CONTEXT
from cascade_core.datasets.data_set import DataSet
from cascade_core.datasets.mini import MINI
from cascade_core.datasets.mini_hard import MINI_HARD, MINI_HARD_DRAWN
from cascade_core.datasets.voc12 import VOC12
from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit, split_of
from cascade_core.labels.label_set import LabelSet
from cascade_core.runtime.listing import by_name

DATA_SETS = (VOC12, CONTEXT, COCOSTUFF, ADE20K, MINI, MINI_HARD, MINI_HARD_DRAWN)


def data_set(name: str) -> DataSet:
    """Return the data set of this name; a `UserError` lists the known names."""
    return by_name(name, {dataset.name: dataset for dataset in DATA_SETS}, kind="data set")


def label_sets() -> tuple[LabelSet, ...]:
    """Return the label sets of all data sets."""
    return tuple(labels for dataset in DATA_SETS for labels in dataset.label_sets)


def label_set(name: str) -> LabelSet:
    """Return the label set of this name; a `UserError` lists the known names."""
    return by_name(name, {labels.name: labels for labels in label_sets()}, kind="label set")


def protocols() -> tuple[ClassSplit, ...]:
    """Return the class splits of all data sets."""
    return tuple(split for dataset in DATA_SETS for split in dataset.protocols)


def protocol(name: str) -> ClassSplit:
    """Return the class split of a protocol's name or of a label file's path.

    Raises:
        UserError: no protocol has this name, or the label file is missing or invalid.
    """
    from cascade_core.labels.label_file import is_label_file, read_label_file  # slow to import

    if is_label_file(name):
        return split_of(read_label_file(Path(name)))
    try:
        return by_name(name, {split.name: split for split in protocols()}, kind="protocol")
    except UserError as error:
        raise UserError(f"{error}, or give the path of a label file (.yaml)") from None


def layout_of(labels: LabelSet) -> Layout | None:
    """Return the layout in which label maps of a label set are published; None for a label file's label set."""
    return next((dataset.layout for dataset in DATA_SETS if labels in dataset.label_sets), None)
