"""The work that remains after the official files of a data set are unpacked: convert label maps, write lists."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade_core.data.sources.archives import climbs
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_text

Splits = tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """A label map to write: `make` returns its 8-bit ids [height, width], or raises a `UserError` naming the file."""

    target: Path
    make: Callable[[], Any]


@dataclass(frozen=True)
class Plan:
    """The work that remains once all parts are in the raw folder.

    Attributes:
        counts: the number of pictures of each split.
        image_sets: the lists or folders from which the index reads each split (`components/inputs/indexing.py`).
        jobs: the label maps to write.
        lists: the image lists to write: names by the path of the list.
        notes: entries for the summary.
    """

    counts: Mapping[str, int]
    image_sets: Mapping[str, str]
    jobs: Sequence[Job] = ()
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


def read_names(path: Path) -> list[str]:
    """Read an image list: one name a line.

    Raises:
        UserError: the list is missing, no text or empty, or a line is no name.
    """
    names = [line.strip() for line in read_text(path, "image list").splitlines() if line.strip()]
    if not names:
        raise UserError(f"image list {path} is empty; it names a picture a line")
    if stray := [name for name in names if climbs(name) or len(name.split()) > 1]:
        raise UserError(f"image list {path}: {stray[0]!r} is no picture name; expected one a line")
    return names
