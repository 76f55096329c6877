"""Split the classes of a label set into seen and unseen ones.

A split names its unseen classes only; seen classes and all ids are derived, so that no fact is typed twice.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Self

from cascade_core.labels.label_set import LabelSet, check_unseen

if TYPE_CHECKING:
    from cascade_core.labels.label_file import LabelFile


TargetSeen = Literal["all", "names"]
"""Which classes of another data set count as seen: all, as published, or those named like a seen class of the training."""


@dataclass(frozen=True)
class ClassSplit:
    """A label set and the names of its unseen classes: a zero-shot protocol.

    `own` is the label file that the split was read from, None for a named protocol.
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
        return self.label_set.num_classes

    @cached_property
    def unseen(self) -> tuple[int, ...]:
        """Train ids of the unseen classes, ascending."""
        return tuple(sorted(map(self.classes.index, self.unseen_names)))

    @cached_property
    def seen(self) -> tuple[int, ...]:
        """Train ids of the seen classes, ascending."""
        return tuple(i for i in range(self.num_classes) if i not in self.unseen)

    @property
    def seen_names(self) -> tuple[str, ...]:
        return tuple(self.classes[i] for i in self.seen)

    def with_background(self) -> Self:
        """Add background as the last class, which counts as seen; errors as in `LabelSet.with_background`."""
        return replace(self, label_set=self.label_set.with_background())

    def foreground(self) -> Self:
        """Remove the background class, if there is one."""
        return replace(self, label_set=self.label_set.foreground())

    def supervised(self) -> Self:
        """Count every class as seen, as in fully supervised training."""
        return replace(self, name=f"{self.name}-supervised", unseen_names=())


def split_of(file: "LabelFile") -> ClassSplit:
    """Return the class split that a label file describes."""
    return ClassSplit(file.protocol, file.label_set(), file.unseen, own=file)
