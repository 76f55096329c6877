"""Label sets: class names, and how label maps number them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

from cascade_core.errors import UserError
from cascade_core.runtime.listing import duplicates

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int16

IGNORE = 255
"""Label of pixels that belong to no class: background, void, unlabelled, padding."""

INVALID = -1
"""Entry of a raw-to-train table for a raw id that no label map of the set may hold."""

BACKGROUND = "background"
"""Name of the class that stands for pixels of no other class, where it counts as one."""

BACKGROUND_COLOUR = "black"
"""What pictures show it in, as Pascal VOC's maps do: it is often most of a picture, and no find."""


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
            raise UserError(
                f"label set {self.name!r} has {len(self.classes)} classes; a map holds 1 to {IGNORE - 1}"
            )
        if twice := duplicates(self.classes):
            raise UserError(f"label set {self.name!r} names {twice} twice; class names must be distinct")
        if any(not name.strip() for name in self.classes):
            raise UserError(f"label set {self.name!r} has an empty class name; every class needs a name")
        if len(self.raw_to_train) != 256:
            raise UserError(
                f"raw_to_train of label set {self.name!r} has {len(self.raw_to_train)} entries, not 256"
            )
        stray = set(self.raw_to_train) - set(range(len(self.classes))) - {IGNORE, INVALID}
        if stray:
            raise UserError(
                f"raw_to_train of label set {self.name!r} gives train ids {sorted(stray)}; "
                f"allowed are 0..{len(self.classes) - 1}, {IGNORE} (ignored) and {INVALID} (not allowed)"
            )
        for field in ("synonyms", "colours"):
            if len(getattr(self, field)) not in (0, len(self.classes)):
                raise UserError(
                    f"label set {self.name!r} has {field} of {len(getattr(self, field))} classes and "
                    f"{len(self.classes)} class names; give one entry for each class, or none at all"
                )
        if any(self.raw_to_train[raw] != self._background for raw in self.background_ids):
            raise UserError(
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
    def table(self) -> "Int16[np.ndarray, '256']":
        """The table as an array to index with raw ids."""
        import numpy as np  # the command line's help reads label sets, and waits for no array

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
            UserError: label maps of this set have no id for background, or it has such a class already.
        """
        if self.has_background or not self.background_ids:
            there = "counts background already" if self.has_background else "has no raw id for background"
            raise UserError(f"label set {self.name!r} {there}; use background policy 'dropped' with it")
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
            UserError: a name is not in the label set.
        """
        wanted = tuple(names)
        stray = [name for name in wanted if name not in self.classes]
        if stray:
            raise UserError(
                f"classes {stray} are not in label set {self.name!r}; it has {', '.join(self.classes)}"
            )
        return tuple(sorted({self.classes.index(name) for name in wanted}))


def check_unseen(unseen: Sequence[str], label_set: LabelSet, *, where: str) -> None:
    """See that the names of unseen classes, which `where` states, can be those of a split of `label_set`.

    Raises:
        UserError: a name is no class, comes twice, or none of the classes is left seen.
    """
    stray = [name for name in unseen if name not in label_set.classes]
    if stray:
        raise UserError(
            f"unseen classes {stray} of {where} are not in label set {label_set.name!r}; "
            f"it has {', '.join(label_set.classes)}"
        )
    if len(set(unseen)) != len(unseen):
        raise UserError(f"{where} names an unseen class twice: {', '.join(unseen)}")
    if len(unseen) == len(label_set.classes):
        raise UserError(f"{where} leaves no class seen; take at least one out of the unseen names")


def reduce_zero_table(num_classes: int) -> tuple[int, ...]:
    """Table of label maps that keep 0 for background: 0 and 255 become `IGNORE`, n becomes n - 1."""
    return (IGNORE, *range(num_classes), *[INVALID] * (254 - num_classes), IGNORE)


def train_id_table(num_classes: int) -> tuple[int, ...]:
    """Table of label maps that already hold train ids 0..C-1, and 255 for unlabelled."""
    return (*range(num_classes), *[INVALID] * (255 - num_classes), IGNORE)


def ranked_table(raw_ids: Sequence[int], *, ignored: Sequence[int] = ()) -> tuple[int, ...]:
    """Table of label maps whose class k is written as `raw_ids[k]`, and unlabelled as 255 or one of `ignored`."""
    table = [INVALID] * 255 + [IGNORE]
    for raw in ignored:
        table[raw] = IGNORE
    for train, raw in enumerate(raw_ids):
        table[raw] = train
    return tuple(table)
