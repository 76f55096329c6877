"""The description of a public data set: label sets, class splits, the layout of its files, and its release.

Each module of this folder describes one data set, and `catalogue.py` lists them. The command line's help reads the
list, so these modules do not import numpy; functions import the converters of label maps when they run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_core.data.layouts import Layout
from cascade_core.data.picture_names import is_picture
from cascade_core.data.sources.part_search import Part
from cascade_core.data.sources.plan import Job, Plan, Splits
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_set import LabelSet


def class_names(text: str) -> tuple[str, ...]:
    """Split a comma-separated text of several lines into names."""
    return tuple(" ".join(name.split()) for name in text.split(","))


@dataclass(frozen=True)
class Release:
    """The official files of a data set, and the way `cascade-clip prepare NAME` uses them.

    Attributes:
        help: the command's help: a sentence, then the files that it needs.
        example: the command's options in the example of its help.
        counts: the official number of pictures of each split.
        root: the folder below the raw folder that the index reads.
        requirements: returns the parts for the given splits; each row holds alternatives, and one of them suffices.
        plan: returns the work that remains when all parts are in the raw folder.
        verify: checks the finished raw folder, and returns notes for the summary.
    """

    help: str
    example: str
    counts: Mapping[str, int]
    root: str
    requirements: Callable[[Splits], tuple[tuple[Part, ...], ...]]
    plan: Callable[[Path, Splits], Plan]
    verify: Callable[[Path], Mapping[str, Any]] = lambda raw: {}


def folder_plan(pictures: Path, folders: Mapping[str, str], splits: Splits, jobs: Sequence[Job] = ()) -> Plan:
    """Plan a data set of parallel folders: `folders` names each split's folder below `images` and `annotations`."""
    return Plan(
        counts={
            split: sum(is_picture(path.name) for path in (pictures / folders[split]).glob("*"))
            for split in splits
        },
        image_sets={split: f"images/{folders[split]}:annotations/{folders[split]}" for split in splits},
        jobs=jobs,
    )


@dataclass(frozen=True)
class DataSet:
    """A public data set: `protocols` are the class splits that its label maps serve, the default first.

    `release` is None if there are no official files. `other_label_sets` describe label maps with another numbering,
    such as maps before conversion.
    """

    name: str
    title: str
    layout: Layout
    protocols: tuple[ClassSplit, ...]
    release: Release | None = None
    other_label_sets: tuple[LabelSet, ...] = ()

    @property
    def label_sets(self) -> tuple[LabelSet, ...]:
        """All label sets of the data set, without repetition."""
        of_protocols = {split.label_set.name: split.label_set for split in self.protocols}
        return (*of_protocols.values(), *self.other_label_sets)
