"""The work that remains after the official files of a data set are unpacked: convert label maps, write lists."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade_core.data.picture_names import bare
from cascade_core.data.sources.archives import climbs
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_text
from cascade_core.runtime.listing import brief, short_list

Splits = tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """A label map to write: `make` returns its 8-bit ids [height, width], or raises a `UserError` naming the file."""

    target: Path
    make: Callable[[], Any]


@dataclass(frozen=True)
class Plan:
    """The work that remains once all parts are in the raw folder: label maps and `lists` (names by path) to write.

    `counts` are the pictures of each split, `image_sets` the lists or folders from which the index reads it (see
    `components/inputs/indexing.py`); `notes` go into the summary.
    """

    counts: Mapping[str, int]
    image_sets: Mapping[str, str]
    jobs: Sequence[Job] = ()
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


def read_names(path: Path) -> list[str]:
    """Read an image list: one name per line; empty lines and suffixes of pictures are dropped.

    Raises:
        UserError: the list is missing or not text, or a line is not a name.
    """
    if not path.is_file():
        lists = ", ".join(sorted(file.stem for file in path.parent.glob("*.txt")))
        raise UserError(f"{path}: image list is missing; lists at hand: {lists or 'none'}")
    lines = {
        number: line.strip() for number, line in enumerate(read_text(path, "image list").splitlines(), 1)
    }
    if strays := [
        f"line {n} ({brief(name)})"
        for n, name in lines.items()
        if name and (climbs(name) or len(name.split()) > 1)
    ]:
        raise UserError(
            f"{path}: no picture name in {short_list(strays, most=5)}; "
            "expected one name a line, without spaces or '..'"
        )
    return [bare(name) for name in lines.values() if name]
