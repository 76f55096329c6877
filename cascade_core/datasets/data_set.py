"""What a public data set is to this package: label sets and class splits, the layout of its files, and its release.

A module of this folder states one data set, and `catalogue.py` lists them. The list is read for the command line's
help, so nothing here imports numpy: what converts label maps lies in modules of its own, imported where it is used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_core.data.layouts import Layout
from cascade_core.data.sources.part_search import Part
from cascade_core.data.sources.plan import Plan, Splits
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_set import LabelSet


def class_names(text: str) -> tuple[str, ...]:
    """Split a comma-separated block into names, whatever its line breaks."""
    return tuple(" ".join(name.split()) for name in text.split(","))


@dataclass(frozen=True)
class Release:
    """The official files of a data set, and what `cascade-clip prepare NAME` makes of them.

    Attributes:
        help: the command's help: a sentence, then the files it needs.
        example: the command's options in the example that ends its help.
        counts: the official number of pictures of each split.
        root: the folder below the raw one that the index starts from.
        requirements: the parts for some splits; of each row of alternatives one is needed.
        plan: what is left to do once all parts lie below the raw folder.
        verify: looks at the finished raw folder, and returns notes for the summary.
    """

    help: str
    example: str
    counts: Mapping[str, int]
    root: str
    requirements: Callable[[Splits], tuple[tuple[Part, ...], ...]]
    plan: Callable[[Path, Splits], Plan]
    verify: Callable[[Path], Mapping[str, Any]] = lambda raw: {}


@dataclass(frozen=True)
class DataSet:
    """A public data set: `protocols` are the class splits its label maps serve, the usual one first.

    `release` is None where no files are to be fetched. `other_label_sets` read maps of another numbering, such as
    maps that are not converted yet.
    """

    name: str
    title: str
    layout: Layout
    protocols: tuple[ClassSplit, ...]
    release: Release | None = None
    other_label_sets: tuple[LabelSet, ...] = ()

    @property
    def label_sets(self) -> tuple[LabelSet, ...]:
        """Every label set of the data set, once."""
        of_protocols = {split.label_set.name: split.label_set for split in self.protocols}
        return (*of_protocols.values(), *self.other_label_sets)
