"""What is left to do for a data set once its official files are unpacked: label maps to convert, lists to write."""

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
    """A label map to make: `make` gives its ids as 8-bit [height, width], or raises UserError naming the wrong file."""

    target: Path
    make: Callable[[], Any]


@dataclass(frozen=True)
class Plan:
    """What is left to do once all parts lie below the raw folder.

    `lists` gives the names of each image list to write, by its path; `counts` the pictures of each split;
    `image_sets` what the index reads of each (see `components/inputs/indexing.py`); `notes` go into the summary.
    """

    counts: Mapping[str, int]
    image_sets: Mapping[str, str]
    jobs: Sequence[Job] = ()
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


def read_names(path: Path) -> list[str]:
    """Read an image list: one name a line.

    Raises:
        UserError: the list is missing, no text, empty, or has a line that is no name.
    """
    lines = read_text(path, "image list").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise UserError(f"image list {path} is empty; it names a picture a line")
    if stray := [name for name in names if climbs(name) or len(name.split()) > 1]:
        raise UserError(f"image list {path}: {stray[0]!r} is no picture name; expected one a line")
    return names
