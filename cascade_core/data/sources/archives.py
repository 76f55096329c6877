"""Unpacking archives that came from elsewhere: safely, member by member, and going on where a call stopped.

The whole list of members is looked at before the first one is written. An archive with a single member that
is neither file nor folder, or that would land outside the target, is refused as a whole: none of the official
archives has such a member, so the file is not what it is taken for.
"""

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_IFDIR, S_IFMT, S_IFREG
from typing import IO

from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file
from cascade_core.runtime.listing import short_list
from cascade_core.runtime.pool import Progress

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError)
"""What the standard library raises for archives that are cut short, damaged, or no archives."""

Place = Callable[[PurePosixPath], PurePosixPath | None]
"""Gives the place of a member below the target folder, or None to leave it in the archive."""


@dataclass(frozen=True)
class Member:
    """One entry of an archive; `kind` is "file", "folder", or what else it claims to be."""

    name: str
    size: int
    kind: str


def is_archive(path: Path) -> bool:
    """Tell by its name whether a file is an archive that `unpack` takes."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def unpack(archive: Path, target: Path, place: Place, *, progress: Progress | None = None) -> int:
    """Write the files of `archive` that `place` gives a place below `target`, and return their number.

    A file that is there with its full size is left alone, so that an interrupted call goes on where it
    stopped: each is written under a temporary name and renamed.

    Raises:
        UserError: the archive is cut short or damaged, has members that climb out of the target, are links
            or devices, or are encrypted, or the disk has no room for what it holds.
    """
    with _damage_told(archive):
        members = list(_members(archive))
    _check(archive, members)
    wanted = _wanted(members, target, place)
    missing = {name: size for name, (path, size) in wanted.items() if not _is_there(path, size)}
    _check_room(archive, target, sum(missing.values()))
    done = len(wanted) - len(missing)
    with _damage_told(archive):
        for name, stream in _contents(archive, missing):
            with new_file(wanted[name][0]) as path, path.open("wb") as file:
                shutil.copyfileobj(stream, file, 1 << 20)
            done += 1
            if progress is not None:
                progress(done, len(wanted))
    return len(wanted)


def climbs(name: str) -> bool:
    """Tell whether a path taken from a file would leave the folder it is joined to, on any system."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or name[1:2] == ":"


def _check(archive: Path, members: list[Member]) -> None:
    strange = [f"{member.name!r} ({member.kind})" for member in members if not _is_plain(member)]
    outside = [repr(member.name) for member in members if climbs(member.name)]
    for found, fault in ((outside, "leave the folder"), (strange, "are neither files nor folders")):
        if found:
            raise UserError(
                f"archive {archive}: {len(found)} members {fault}: {short_list(found, most=3)}; nothing was unpacked. "
                "The official archive has none such: fetch it from the official page"
            )


def _is_plain(member: Member) -> bool:
    return member.kind in ("file", "folder")


def _wanted(members: list[Member], target: Path, place: Place) -> dict[str, tuple[Path, int]]:
    found = {}
    for member in members:
        where = place(PurePosixPath(member.name)) if member.kind == "file" else None
        if where is not None:
            found[member.name] = (target / where, member.size)
    return found


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _check_room(archive: Path, target: Path, needed: int) -> None:
    target.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target).free
    if needed > free:
        raise UserError(
            f"archive {archive} unpacks to {needed:,} bytes, {target} has room for {free:,}; "
            "free some space, or unpack elsewhere with --raw"
        )


def _members(archive: Path) -> Iterator[Member]:
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            yield from map(_zip_member, opened.infolist())
        return
    with tarfile.open(archive) as tar:
        for info in tar:
            kind = "file" if info.isreg() else "folder" if info.isdir() else _tar_kind(info)
            yield Member(info.name, info.size, kind)
        _check_end(tar)


def _zip_member(info: zipfile.ZipInfo) -> Member:
    mode = S_IFMT(info.external_attr >> 16)
    kind = "folder" if info.is_dir() else "file"
    if info.flag_bits & 1:
        kind = "encrypted"
    elif mode not in (0, S_IFREG, S_IFDIR):  # 0: written on a system without modes
        kind = "link or device"
    return Member(info.filename, info.file_size, kind)


def _tar_kind(info: tarfile.TarInfo) -> str:
    return "link" if info.issym() or info.islnk() else "device"


def _check_end(tar: tarfile.TarFile) -> None:
    """See that the archive ends as one does: tarfile takes a cut between two members for the end."""
    assert tar.fileobj is not None
    if isinstance(tar.fileobj, gzip.GzipFile):
        while tar.fileobj.read(1 << 20):  # to the checksum at its end
            pass
        return
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it has no end mark")


def _contents(archive: Path, wanted: dict[str, int]) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of the wanted members, in the order in which they lie in the archive."""
    if not wanted:
        return
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                if info.filename in wanted:
                    with opened.open(info) as stream:
                        yield info.filename, stream
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.name in wanted else None
            if content is not None:
                yield member.name, content


@contextmanager
def _damage_told(archive: Path) -> Iterator[None]:
    try:
        yield
    except NotImplementedError as error:
        raise UserError(
            f"archive {archive} is packed in a way that Python cannot read ({error}); unpack it with another "
            "program and give the folder"
        ) from error
    except _BROKEN as error:
        raise UserError(
            f"archive {archive} is cut short or damaged ({error}); fetch it again, what was unpacked is kept"
        ) from error
