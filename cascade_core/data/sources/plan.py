"""What a data set is to this package: its parts, the official number of pictures, and what is to be converted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade_core.data.sources.archives import climbs
from cascade_core.data.sources.convert import Job
from cascade_core.data.sources.parts import Part
from cascade_core.errors import UserError

Splits = tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What is left to do once all parts lie below the raw folder.

    `lists` gives the names of each image list to write, by its path; `counts` the pictures of each split;
    `image_sets` what the index reads of each (see `components/steps/prepare.py`); `notes` go into the summary.
    """

    counts: Mapping[str, int]
    image_sets: Mapping[str, str]
    jobs: Sequence[Job] = ()
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSet:
    """A public data set: `requirements` gives its parts (of each row of alternatives one is needed).

    `protocols` are those whose label maps it provides, the usual one first; `root` is the folder below the
    raw one that the index starts from. `verify` looks at what was made and returns notes for the summary.
    """

    name: str
    title: str
    protocols: tuple[str, ...]
    counts: Mapping[str, int]
    root: str
    requirements: Callable[[Splits], tuple[tuple[Part, ...], ...]]
    plan: Callable[[Path, Splits], Plan]
    verify: Callable[[Path], Mapping[str, Any]] = lambda raw: {}


def read_names(path: Path) -> list[str]:
    """Read an image list: one name a line.

    Raises:
        UserError: the list is missing, no text, empty, or has a line that is no name.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"image list {path} cannot be read ({error}); unpack the archive again, or give the folder with it"
        ) from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise UserError(f"image list {path} is empty; it names a picture a line")
    if stray := [name for name in names if climbs(name) or len(name.split()) > 1]:
        raise UserError(f"image list {path}: {stray[0]!r} is no picture name; expected one a line")
    return names
