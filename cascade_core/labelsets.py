"""Label sets (class names and how label maps number them) and their splits into seen and unseen classes.

A split names its unseen classes; ids and the seen classes follow from that, so that nothing is typed
twice. Every protocol under which numbers are published or made here is a named split; a label file
(`label_file.py`) describes one of one's own, and its path stands wherever a protocol's name does.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from jaxtyping import Int16

from cascade_core import class_lists

if TYPE_CHECKING:
    from cascade_core.label_file import LabelFile

IGNORE = 255
"""Label of pixels that belong to no class: background, void, unlabelled, padding."""

INVALID = -1
"""Entry of a raw-to-train table for a raw id that no label map of the set may hold."""

BACKGROUND = "background"
"""Name of the class that stands for pixels of no other class, where it counts as one."""

BACKGROUND_COLOUR = "black"
"""What pictures show it in, as Pascal VOC's maps do: it is often most of a picture, and no find."""

LABEL_FILE_SUFFIXES = (".yaml", ".yml")

LABEL_SETS = (
    "voc20",
    "context59",
    "context60",
    "context59-literature",
    "cocostuff171",
    "cocostuff171-raw",
    "ade20k150",
    "mini24",
)
PROTOCOLS = (
    "voc12-15-5",
    "context59-literature",
    "context59-released",
    "cocostuff-156-15",
    "mini-18-6",
    "voc12-20",
    "context59",
    "context60",
    "ade20k-150",
)


@dataclass(frozen=True)
class LabelSet:
    """Class names in the order of their train ids, and the train id of each of the 256 raw PNG ids.

    `raw_to_train` maps to 0..C-1, to `IGNORE`, or to `INVALID` where no label map may hold the raw id.
    `synonyms` are further names of each class, `colours` what pictures show it in ("" leaves that open); both
    may be empty. `background_ids` are the ignored raw ids that stand for background; with `has_background` the
    last class is the background, and has their pixels.
    """

    name: str
    classes: tuple[str, ...]
    raw_to_train: tuple[int, ...]
    synonyms: tuple[tuple[str, ...], ...] = ()
    colours: tuple[str, ...] = ()
    background_ids: tuple[int, ...] = ()
    has_background: bool = False

    def __post_init__(self) -> None:
        if not 0 < len(self.classes) < IGNORE:
            raise ValueError(
                f"label set {self.name!r} has {len(self.classes)} classes; a map holds 1 to {IGNORE - 1}"
            )
        repeated = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if repeated:
            raise ValueError(f"label set {self.name!r} names {repeated} twice; class names must be distinct")
        if any(not name.strip() for name in self.classes):
            raise ValueError(f"label set {self.name!r} has an empty class name; every class needs a name")
        if len(self.raw_to_train) != 256:
            raise ValueError(
                f"raw_to_train of label set {self.name!r} has {len(self.raw_to_train)} entries, not 256"
            )
        stray = set(self.raw_to_train) - set(range(len(self.classes))) - {IGNORE, INVALID}
        if stray:
            raise ValueError(
                f"raw_to_train of label set {self.name!r} gives train ids {sorted(stray)}; "
                f"allowed are 0..{len(self.classes) - 1}, {IGNORE} (ignored) and {INVALID} (not allowed)"
            )
        for field in ("synonyms", "colours"):
            if len(getattr(self, field)) not in (0, len(self.classes)):
                raise ValueError(
                    f"label set {self.name!r} has {field} of {len(getattr(self, field))} classes and "
                    f"{len(self.classes)} class names; give one entry for each class, or none at all"
                )
        if any(self.raw_to_train[raw] != self._background for raw in self.background_ids):
            raise ValueError(
                f"raw_to_train of label set {self.name!r} does not give train id {self._background} to all "
                f"background ids {list(self.background_ids)}"
            )

    @property
    def _background(self) -> int:
        """Train id that background pixels have."""
        return len(self.classes) - 1 if self.has_background else IGNORE

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @cached_property
    def table(self) -> Int16[np.ndarray, "256"]:
        """The table as an array to index with raw ids."""
        table = np.array(self.raw_to_train, dtype=np.int16)
        table.setflags(write=False)
        return table

    def describe_raw_ids(self) -> str:
        """Say which raw ids a label map may hold, for error messages."""
        allowed = [raw for raw, train in enumerate(self.raw_to_train) if train != INVALID]
        runs: list[list[int]] = []
        for raw in allowed:
            if runs and raw == runs[-1][1] + 1:
                runs[-1][1] = raw
            else:
                runs.append([raw, raw])
        return ", ".join(str(first) if first == last else f"{first}..{last}" for first, last in runs)

    def with_background(self, name: str | None = None) -> Self:
        """Give the set with one more class, the last: `BACKGROUND`, which has the background's pixels.

        Raises:
            ValueError: label maps of this set have no id for background, or it has such a class already.
        """
        if self.has_background or not self.background_ids:
            there = "counts background already" if self.has_background else "has no raw id for background"
            raise ValueError(f"label set {self.name!r} {there}; use background policy 'dropped' with it")
        table = list(self.raw_to_train)
        for raw in self.background_ids:
            table[raw] = self.num_classes
        return replace(
            self,
            name=name or f"{self.name}+{BACKGROUND}",
            classes=(*self.classes, BACKGROUND),
            raw_to_train=tuple(table),
            synonyms=(*self.synonyms, ()) if self.synonyms else (),
            colours=(*(self.colours or ("",) * self.num_classes), BACKGROUND_COLOUR),
            has_background=True,
        )

    def foreground(self) -> Self:
        """Give the set without the class of the background, whose pixels are ignored; itself where it has none."""
        if not self.has_background:
            return self
        kept = self.num_classes - 1
        return replace(
            self,
            classes=self.classes[:kept],
            raw_to_train=tuple(IGNORE if train == kept else train for train in self.raw_to_train),
            synonyms=self.synonyms[:kept],
            colours=self.colours[:kept],
            has_background=False,
        )

    def ids(self, names: Iterable[str]) -> tuple[int, ...]:
        """Give the train ids of class names, ascending.

        Raises:
            ValueError: a name is not in the label set.
        """
        wanted = tuple(names)
        stray = [name for name in wanted if name not in self.classes]
        if stray:
            raise ValueError(
                f"classes {stray} are not in label set {self.name!r}; it has {', '.join(self.classes)}"
            )
        return tuple(sorted({self.classes.index(name) for name in wanted}))


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
        stray = [name for name in self.unseen_names if name not in self.label_set.classes]
        if stray:
            raise ValueError(
                f"unseen classes {stray} of split {self.name!r} are not in label set "
                f"{self.label_set.name!r}; it has {', '.join(self.label_set.classes)}"
            )
        if len(set(self.unseen_names)) != len(self.unseen_names):
            raise ValueError(
                f"split {self.name!r} names an unseen class twice: {', '.join(self.unseen_names)}"
            )
        if len(self.unseen_names) == len(self.label_set.classes):
            raise ValueError(
                f"split {self.name!r} leaves no class seen; take at least one out of the unseen names"
            )

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


def reduce_zero_table(num_classes: int) -> tuple[int, ...]:
    """Table of label maps that keep 0 for background: 0 and 255 become `IGNORE`, n becomes n - 1."""
    return (IGNORE, *range(num_classes), *[INVALID] * (254 - num_classes), IGNORE)


def is_label_file(protocol: str) -> bool:
    """Tell the path of a label file from the name of a protocol, without looking whether it is there."""
    return protocol.lower().endswith(LABEL_FILE_SUFFIXES)


def train_id_table(num_classes: int) -> tuple[int, ...]:
    """Table of label maps that already hold train ids 0..C-1, and 255 for unlabelled."""
    return (*range(num_classes), *[INVALID] * (255 - num_classes), IGNORE)


def ranked_table(raw_ids: Sequence[int]) -> tuple[int, ...]:
    """Table of label maps whose class k is written as `raw_ids[k]`, and unlabelled as 255."""
    table = [INVALID] * 255 + [IGNORE]
    for train, raw in enumerate(raw_ids):
        table[raw] = train
    return tuple(table)


def label_set(name: str) -> LabelSet:
    """Give a label set by name; `LABEL_SETS` lists them.

    VOC, Context, ADE20K and the mini benchmark keep raw id 0 for background. `cocostuff171` reads the
    converted `*_labelTrainIds.png`, `cocostuff171-raw` the original maps (ids 0..181 with gaps). `context60`
    is `context59` with background as the last class.

    Raises:
        ValueError: no label set has this name.
    """
    match name:
        case "voc20":
            return _without_background(name, class_lists.VOC_20, background_ids=(0,))
        case "context59":
            return _without_background(name, class_lists.CONTEXT_59, background_ids=(0,))
        case "context60":
            return label_set("context59").with_background(name)
        case "context59-literature":
            return _context_in_literature_order(name)
        case "cocostuff171":
            classes = class_lists.COCO_STUFF_171
            return LabelSet(name, classes, train_id_table(len(classes)))
        case "cocostuff171-raw":
            used = [raw for raw in range(182) if raw not in class_lists.COCO_STUFF_RAW_GAPS]
            return LabelSet(name, class_lists.COCO_STUFF_171, ranked_table(used))
        case "ade20k150":
            return _without_background(name, class_lists.ADE20K_150)
        case "mini24":
            from cascade_core.mini.vocabulary import CLASSES

            return _without_background(name, tuple(CLASSES))
        case _:
            raise ValueError(f"unknown label set {name!r}; known are {', '.join(LABEL_SETS)}")


def protocol(name: str) -> ClassSplit:
    """Give a named split, of those `PROTOCOLS` lists, or that of a label file, whose path `name` then is.

    The two Context splits share raw label maps but neither class order nor unseen classes: the released
    code applies the literature's unseen *indices* to an alphabetical list. The last four are targets of
    cross-dataset evaluation and have no unseen class; `context60` counts background as a class, and wants a
    policy that says which pixels are background.

    Raises:
        ValueError: no protocol has this name, or the label file is missing or wrong.
    """
    if is_label_file(name):
        from cascade_core.label_file import read_label_file

        return read_label_file(Path(name)).split()
    match name:
        case "voc12-15-5":
            return ClassSplit(name, label_set("voc20"), class_lists.VOC_UNSEEN)
        case "context59-literature":
            return ClassSplit(name, label_set(name), class_lists.CONTEXT_UNSEEN_LITERATURE)
        case "context59-released":
            return ClassSplit(name, label_set("context59"), class_lists.CONTEXT_UNSEEN_RELEASED)
        case "cocostuff-156-15":
            return ClassSplit(name, label_set("cocostuff171"), class_lists.COCO_STUFF_UNSEEN)
        case "mini-18-6":
            from cascade_core.mini.vocabulary import UNSEEN

            return ClassSplit(name, label_set("mini24"), tuple(UNSEEN))
        case "voc12-20":
            return ClassSplit(name, label_set("voc20"))
        case "context59":
            return ClassSplit(name, label_set("context59"))
        case "context60":
            return ClassSplit(name, label_set("context60"))
        case "ade20k-150":
            return ClassSplit(name, label_set("ade20k150"))
        case _:
            raise ValueError(
                f"unknown protocol {name!r}; known are {', '.join(PROTOCOLS)}, or give the path of a label file "
                "(.yaml)"
            )


def _without_background(
    name: str, classes: tuple[str, ...], *, background_ids: tuple[int, ...] = ()
) -> LabelSet:
    return LabelSet(name, classes, reduce_zero_table(len(classes)), background_ids=background_ids)


def _context_in_literature_order(name: str) -> LabelSet:
    """Read the same raw maps, numbered alphabetically, into the order that has VOC's classes first."""
    classes = class_lists.CONTEXT_59_LITERATURE
    raw_ids = [1 + class_lists.CONTEXT_59.index(class_name) for class_name in classes]
    return LabelSet(name, classes, (IGNORE, *ranked_table(raw_ids)[1:]), background_ids=(0,))
