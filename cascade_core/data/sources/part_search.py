"""Find the parts of a data set: each is an unpacked folder, an archive, or a single file."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

from cascade_core.data.sources.archives import is_archive, unpack
from cascade_core.data.sources.official import OfficialFile
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file
from cascade_core.runtime.pool import Progress
from cascade_core.runtime.walking import visible_below

SEARCH_DEPTH = 4
"""The number of folder levels that are searched: from above VOCdevkit it reaches VOCdevkit/VOC2012/JPEGImages."""


@dataclass(frozen=True)
class Part:
    """Files of a data set that belong together; `what` describes them in messages.

    A required folder holds files but no subfolders, because later steps do not search subfolders.

    `take` names the required folders and files, relative to `root` in the archive `file` and to `into` in the raw
    folder; without it the part is the single `file`. From folders, only files that end with `suffix` and not
    with `but_not` are taken; this also distinguishes equally named folders, such as COCO's pictures and label maps.
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
        """Return the path of an archive's member below the raw folder; None for a member to skip.

        Raises:
            UserError: the member lies in a subfolder of one of the part's folders.
        """
        if not member.is_relative_to(self.root):
            return None
        inner = member.relative_to(self.root)
        for path in (*self.take, *self.optional):
            if inner == PurePosixPath(path) or (inner.is_relative_to(path) and self.takes_name(inner.name)):
                self.check_place(inner, path)
                return PurePosixPath(self.into) / inner
        return None

    def check_place(self, inner: PurePosixPath, path: str) -> None:
        """Check that a file of the part's folder `path` lies in no subfolder.

        Raises:
            UserError: it does.
        """
        if inner != PurePosixPath(path) and inner.parent != PurePosixPath(path):
            raise UserError(
                f"{self.what}: {inner} lies in a subfolder of {path}, which is not searched; unpack the archive, move "
                f"the files into {path} itself, and give the folder that holds it"
            )

    def takes_name(self, name: str) -> bool:
        """Return whether a file in a folder of the part belongs to it."""
        hidden = name.startswith(".")  # such as the ._ twins that macOS adds to archives
        lower = name.lower()
        return lower.endswith(self.suffix.lower()) and not lower.endswith(self.but_not.lower()) and not hidden


@dataclass(frozen=True)
class LocatedPart:
    """A part and its location: a folder that holds the files, the archive, or the file itself."""

    part: Part
    at: Path

    @property
    def is_file(self) -> bool:
        return self.at.is_file()


def find(part: Part, sources: Sequence[Path]) -> LocatedPart | None:
    """Find a part in the user's folders and files; an unpacked folder is preferred to an archive.

    If several folders hold it, the folder named as in the archive is preferred: VOC2010 and VOC2012 look alike.
    """
    if part.take:
        folders = [folder for folder in _folders(sources) if _holds(folder, part)]
        folders.sort(key=lambda folder: not folder.resolve().as_posix().endswith(f"/{part.root}"))
        if folders:
            return LocatedPart(part, folders[0])
    named = (source for source in sources if source.name == part.file.name)
    files = chain(named, (folder / part.file.name for folder in _folders(sources)))
    return next((LocatedPart(part, file) for file in files if file.is_file()), None)


def gather(located: LocatedPart, raw: Path, *, progress: Progress | None = None) -> int:
    """Unpack, link or copy a part's files into `raw`, and return their number.

    Existing files are kept. Hard links take no space, and `raw` does not need its source later; across disks files are copied.

    Raises:
        UserError: as in `unpack`.
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
    """Yield the source and target of each file of an unpacked part."""
    part, into = located.part, raw / located.part.into
    if located.is_file:
        yield located.at, into / part.file.name
        return
    for path in (*part.take, *part.optional):
        source = located.at / path
        if source.is_file():
            yield source, into / path
            continue
        for name, file in visible_below(source).items():
            if part.takes_name(file.name):
                part.check_place(PurePosixPath(path, name), path)
                yield file, into / path / name


def _link(source: Path, target: Path) -> None:
    with new_file(target) as path:
        try:
            os.link(source.resolve(), path)
        except OSError:  # another disk, or one without links
            shutil.copyfile(source, path)


def _holds(folder: Path, part: Part) -> bool:
    """Return whether a folder has every required file, and a file in every required folder, of the part."""
    return all(
        (folder / path).is_file() or any(part.takes_name(file.name) for file in (folder / path).glob("*"))
        for path in part.take
    )


def _folders(sources: Sequence[Path]) -> Iterator[Path]:
    """Yield the source folders and those below them, level by level."""
    level = [source for source in sources if source.is_dir()]
    for _ in range(SEARCH_DEPTH):
        yield from level
        level = [child for folder in level for child in _subfolders(folder)]


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir() and entry.name[0] != ".")
