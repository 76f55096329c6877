"""The parts of a data set, found wherever they lie: an unpacked folder, an archive, or a single file."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cascade_core.data.sources.archives import is_archive, unpack
from cascade_core.data.sources.official import OfficialFile
from cascade_core.runtime.files import new_file
from cascade_core.runtime.pool import Progress

SEARCH_DEPTH = 4
"""How far below a given folder a part is looked for: one above VOCdevkit finds VOCdevkit/VOC2012/JPEGImages."""


@dataclass(frozen=True)
class Part:
    """Files that belong together: `take` names them below the root of `file`, and below `into` of the raw folder.

    `take` are folders and files. Of folders only files with `suffix` (and without `but_not`) are taken; that
    also tells folders of one name apart, such as COCO's pictures and maps. `root` is where they lie in the
    archive. A part without `take` is the single file itself.
    """

    what: str
    file: OfficialFile
    into: str
    take: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    root: str = ""
    suffix: str = ""
    but_not: str = "\0"

    def place(self, member: PurePosixPath) -> PurePosixPath | None:
        """Give the place of an archive's member below the raw folder, None for those not wanted."""
        try:
            inner = member.relative_to(self.root)
        except ValueError:
            return None
        return PurePosixPath(self.into) / inner if self._takes(inner) else None

    def _takes(self, inner: PurePosixPath) -> bool:
        for taken in (*self.take, *self.optional):
            if inner == PurePosixPath(taken):
                return True
            if inner.is_relative_to(taken):
                return self.takes_name(inner.name)
        return False

    def takes_name(self, name: str) -> bool:
        """Tell whether a file in a folder of the part is one of it."""
        hidden = name.startswith(".")  # such as the ._ twins that one system adds to archives
        return name.endswith(self.suffix) and not name.endswith(self.but_not) and not hidden


@dataclass(frozen=True)
class LocatedPart:
    """A part and where it lies: a folder that holds what it takes, an archive, or the file."""

    part: Part
    at: Path

    @property
    def is_file(self) -> bool:
        return self.at.is_file()


def find(part: Part, sources: Sequence[Path]) -> LocatedPart | None:
    """Look for a part in folders and files that were given; an unpacked folder goes before an archive.

    Of several folders that hold it the one named as in the archive is taken: VOC2010 and VOC2012 look alike.
    """
    if part.take:
        fitting = [folder for folder in _folders(sources) if _holds(folder, part)]
        fitting.sort(key=lambda folder: not folder.resolve().as_posix().endswith(f"/{part.root}"))
        if fitting:
            return LocatedPart(part, fitting[0])
    for file in _files(sources, part.file.name):
        return LocatedPart(part, file)
    return None


def gather(located: LocatedPart, raw: Path, *, progress: Progress | None = None) -> int:
    """Bring a part's files below `raw` and return their number: unpacked, or linked (copied across disks).

    What is there already stays. Links are hard ones: they cost no room, and `raw` outlives its source.

    Raises:
        UserError: as `unpack` does.
    """
    if located.is_file and is_archive(located.at):
        return unpack(located.at, raw, located.part.place, progress=progress)
    pairs = list(_pairs(located, raw))
    for done, (source, target) in enumerate(pairs, start=1):
        if not target.exists():
            _link(source, target)
        if progress is not None:
            progress(done, len(pairs))
    return len(pairs)


def _pairs(located: LocatedPart, raw: Path) -> Iterator[tuple[Path, Path]]:
    part, into = located.part, raw / located.part.into
    if located.is_file:
        yield located.at, into / part.file.name
        return
    for taken in (*part.take, *part.optional):
        source = located.at / taken
        if source.is_file():
            yield source, into / taken
            continue
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            if part.takes_name(file.name):
                yield file, into / taken / file.relative_to(source)


def _link(source: Path, target: Path) -> None:
    with new_file(target) as path:
        try:
            os.link(source.resolve(), path)
        except OSError:  # another disk, or one without links
            shutil.copyfile(source, path)


def _holds(folder: Path, part: Part) -> bool:
    for taken in part.take:
        path = folder / taken
        if path.is_file():
            continue
        if not path.is_dir() or not any(part.takes_name(name) for name in _names(path)):
            return False
    return True


def _names(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries)


def _folders(sources: Sequence[Path]) -> Iterator[Path]:
    """Yield the given folders and those below them, nearer ones first."""
    level = [source for source in sources if source.is_dir()]
    for _ in range(SEARCH_DEPTH):
        yield from level
        level = [child for folder in level for child in _subfolders(folder)]


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir() and entry.name[0] != ".")


def _files(sources: Sequence[Path], name: str) -> Iterator[Path]:
    yield from (source for source in sources if source.is_file() and source.name == name)
    for folder in _folders(sources):
        if (folder / name).is_file():
            yield folder / name
