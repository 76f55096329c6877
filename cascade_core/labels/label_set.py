"""Label sets: class names, and the ids by which label maps store them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Self

from cascade_core.errors import UserError
from cascade_core.runtime.listing import duplicates

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int16

IGNORE = 255
"""The label of pixels without a class: background, void, unlabelled, padding."""

INVALID = -1
"""The entry of a raw-to-train table for a raw id that label maps must not contain."""

BACKGROUND = "background"
"""The name of the background class in label sets that count background as a class."""

BACKGROUND_COLOUR = "black"
"""The colour of background in pictures, as in Pascal VOC's maps."""


@dataclass(frozen=True)
class LabelSet:
    """Class names in the order of their train ids, and the mapping from raw ids to train ids.

    `raw_to_train` gives each of the 256 raw ids of a PNG its train id 0..C-1, `IGNORE` or `INVALID`. `synonyms` are
    further names of each class, `colours` its colour in pictures ("" for any); both may be empty. `background_ids` are
    raw ids that stand for background; with `has_background` the last class is background and has their pixels.
    """

    name: str
    classes: tuple[str, ...]
    raw_to_train: tuple[int, ...]
    synonyms: tuple[tuple[str, ...], ...] = ()
    colours: tuple[str, ...] = ()
    background_ids: tuple[int, ...] = ()
    has_background: bool = False

    def __post_init__(self) -> None:
        name, count = self.name, len(self.classes)
        if not 0 < count < IGNORE:
            raise UserError(f"label set {name!r} has {count} classes; a label map holds 1 to {IGNORE - 1}")
        if repeated := duplicates(self.classes):
            raise UserError(f"label set {name!r} names {repeated} twice; class names must be distinct")
        if any(not class_name.strip() for class_name in self.classes):
            raise UserError(f"label set {name!r} has an empty class name; every class needs a name")
        assert len(self.raw_to_train) == 256, f"{name}: raw_to_train has {len(self.raw_to_train)} entries"
        strays = set(self.raw_to_train) - {*range(count), IGNORE, INVALID}
        assert not strays, f"{name}: raw_to_train gives train ids {strays} to {count} classes"
        assert len(self.synonyms) in (0, count), f"{name}: synonyms of {len(self.synonyms)} classes"
        assert len(self.colours) in (0, count), f"{name}: colours of {len(self.colours)} classes"
        background = count - 1 if self.has_background else IGNORE
        trains = {self.raw_to_train[raw] for raw in self.background_ids}
        assert trains <= {background}, f"{name}: background ids have train ids {trains}, not {background}"

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @cached_property
    def table(self) -> "Int16[np.ndarray, '256']":
        """`raw_to_train` as an array that raw ids index."""
        import numpy as np  # slow to import; the command line's help reads label sets without arrays

        table = np.array(self.raw_to_train, dtype=np.int16)
        table.setflags(write=False)
        return table

    def describe_raw_ids(self) -> str:
        """List the raw ids that label maps may contain, as in "0..3, 255", for error messages."""
        groups = groupby(range(256), key=lambda raw: self.raw_to_train[raw] != INVALID)
        runs = [list(run) for allowed, run in groups if allowed]
        return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}..{run[-1]}" for run in runs)

    def with_background(self, name: str | None = None) -> Self:
        """Add `BACKGROUND` as the last class, with the pixels of `background_ids`.

        Raises:
            UserError: label maps of this set have no id for background, or it has a background class already.
        """
        if self.has_background or not self.background_ids:
            reason = "counts background already" if self.has_background else "has no raw id for background"
            raise UserError(f"label set {self.name!r} {reason}; use background policy 'dropped' with it")
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
        """Remove the background class, if there is one, and ignore its pixels."""
        if not self.has_background:
            return self
        background = self.num_classes - 1
        return replace(
            self,
            classes=self.classes[:background],
            raw_to_train=tuple(IGNORE if train == background else train for train in self.raw_to_train),
            synonyms=self.synonyms[:background],
            colours=self.colours[:background],
            has_background=False,
        )


def check_unseen(unseen: Sequence[str], label_set: LabelSet, *, where: str) -> None:
    """Check that a split of `label_set` can have these unseen classes; `where` names their source in errors.

    Raises:
        UserError: a name is not a class or is repeated, or no seen class remains.
    """
    if strays := [name for name in unseen if name not in label_set.classes]:
        raise UserError(
            f"unseen classes {strays} of {where} are not in label set {label_set.name!r}; "
            f"it has {', '.join(label_set.classes)}"
        )
    if len(set(unseen)) != len(unseen):
        raise UserError(f"{where} names an unseen class twice: {', '.join(unseen)}")
    if len(unseen) == len(label_set.classes):
        raise UserError(f"{where} leaves no class seen; take at least one out of the unseen names")


def reduce_zero_table(num_classes: int) -> tuple[int, ...]:
    """Return the table of label maps with 0 for background: 0 and 255 become `IGNORE`, n becomes n - 1."""
    return ranked_table(range(1, num_classes + 1), ignored=(0,))


def train_id_table(num_classes: int) -> tuple[int, ...]:
    """Return the table of label maps that store train ids 0..C-1, and 255 for unlabelled pixels."""
    return ranked_table(range(num_classes))


def ranked_table(raw_ids: Sequence[int], *, ignored: Sequence[int] = ()) -> tuple[int, ...]:
    """Return the table of label maps that store class k as `raw_ids[k]`; 255 and `ignored` become `IGNORE`."""
    return id_table(raw_ids, (*ignored, 255))


def id_table(raw_ids: Sequence[int], ignored: Sequence[int]) -> tuple[int, ...]:
    """Return the table that maps `raw_ids[k]` to k, `ignored` to `IGNORE` and all other ids to `INVALID`."""
    train_ids = dict.fromkeys(ignored, IGNORE) | {raw: train for train, raw in enumerate(raw_ids)}
    return tuple(train_ids.get(raw, INVALID) for raw in range(256))
