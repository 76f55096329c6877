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
from functools import partial
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
    """One entry of an open archive; `kind` is "file", "folder", or what else it claims to be."""

    name: str
    size: int
    kind: str
    open: Callable[[], IO[bytes] | None]


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
    with _damage_told(archive), _opened(archive) as members:
        _check(archive, members)
        wanted = [
            (target / where, member)
            for member in members
            if member.kind == "file" and (where := place(PurePosixPath(member.name))) is not None
        ]
        missing = [(path, member) for path, member in wanted if not _is_there(path, member.size)]
        _check_room(archive, target, sum(member.size for _, member in missing))
        for done, (path, member) in enumerate(missing, start=len(wanted) - len(missing) + 1):
            with new_file(path) as working, working.open("wb") as file:
                stream = member.open()
                assert stream is not None
                with stream:
                    shutil.copyfileobj(stream, file, 1 << 20)
            if progress is not None:
                progress(done, len(wanted))
    return len(wanted)


def climbs(name: str) -> bool:
    """Tell whether a path taken from a file would leave the folder it is joined to, on any system."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or name[1:2] == ":"


def _check(archive: Path, members: list[Member]) -> None:
    strange = [
        f"{member.name!r} ({member.kind})" for member in members if member.kind not in ("file", "folder")
    ]
    outside = [repr(member.name) for member in members if climbs(member.name)]
    for found, fault in ((outside, "leave the folder"), (strange, "are neither files nor folders")):
        if found:
            raise UserError(
                f"archive {archive}: {len(found)} members {fault}: {short_list(found, most=3)}; nothing was unpacked. "
                "The official archive has none such: fetch it from the official page"
            )


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


@contextmanager
def _opened(archive: Path) -> Iterator[list[Member]]:
    """Give the members of an archive that stays open until the block ends."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            yield [
                Member(info.filename, info.file_size, _zip_kind(info), partial(opened.open, info))
                for info in opened.infolist()
            ]
        return
    with tarfile.open(archive) as tar:
        members = [
            Member(info.name, info.size, _tar_kind(info), partial(tar.extractfile, info)) for info in tar
        ]
        _check_end(tar)
        yield members


def _zip_kind(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 1:
        return "encrypted"
    if S_IFMT(info.external_attr >> 16) not in (0, S_IFREG, S_IFDIR):  # 0: from a system without modes
        return "link or device"
    return "folder" if info.is_dir() else "file"


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "link"
    return "file" if info.isreg() else "folder" if info.isdir() else "device"


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
