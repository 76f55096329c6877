"""Which classes of a label set are seen and which unseen.

A split names its unseen classes; ids and the seen classes follow from that, so that nothing is typed twice.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Self

from cascade_core.labels.label_set import LabelSet, check_unseen

if TYPE_CHECKING:
    from cascade_core.labels.label_file import LabelFile


TargetSeen = Literal["all", "names"]
"""Which classes of another data set count as seen: all, as published, or those whose names were seen in training."""


@dataclass(frozen=True)
class ClassSplit:
    """A label set with the names of its unseen classes: all that a zero-shot protocol says about classes.

    `own` is the label file it was read from, where it is no named protocol.
    """

    name: str
    label_set: LabelSet
    unseen_names: tuple[str, ...] = ()
    own: "LabelFile | None" = None

    def __post_init__(self) -> None:
        check_unseen(self.unseen_names, self.label_set, where=f"split {self.name!r}")

    @property
    def classes(self) -> tuple[str, ...]:
        return self.label_set.classes

    @property
    def num_classes(self) -> int:
        return len(self.label_set.classes)

    @cached_property
    def unseen(self) -> tuple[int, ...]:
        """Train ids of the unseen classes, ascending."""
        return self.label_set.ids(self.unseen_names)

    @cached_property
    def seen(self) -> tuple[int, ...]:
        """Train ids of all other classes, ascending."""
        return tuple(i for i in range(self.num_classes) if i not in self.unseen)

    @property
    def seen_names(self) -> tuple[str, ...]:
        return tuple(self.classes[i] for i in self.seen)

    def with_background(self) -> Self:
        """Give the split with background as one more class, which counts as seen; errors as of the label set."""
        return replace(self, label_set=self.label_set.with_background())

    def foreground(self) -> Self:
        """Give the split of the classes that have names: without background, where that is a class."""
        return replace(self, label_set=self.label_set.foreground())

    def supervised(self) -> Self:
        """Give the same label set with every class seen, as fully supervised training has it."""
        return replace(self, name=f"{self.name}-supervised", unseen_names=())


def split_of(file: "LabelFile") -> ClassSplit:
    """Give a label file's label set with its unseen classes."""
    return ClassSplit(file.protocol, file.label_set(), file.unseen, own=file)
