"""Unpack archives safely and member by member; a repeated call resumes an interrupted one.

All members are checked before the first is written. An archive is refused as a whole if a member is neither file nor
folder, or if its path leaves the target folder: no official archive has such a member.
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
"""The exceptions of the standard library for archives that are cut short, damaged, or no archives."""

Place = Callable[[PurePosixPath], PurePosixPath | None]
"""Maps a member to its path below the target folder, or to None to skip it."""


@dataclass(frozen=True)
class Member:
    """An entry of an open archive; `kind` is "file", "folder", or a kind that is refused, such as "link"."""

    name: str
    size: int
    kind: str
    open: Callable[[], IO[bytes] | None]


def is_archive(path: Path) -> bool:
    """Return whether `unpack` can read a file of this name."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def unpack(archive: Path, target: Path, place: Place, *, progress: Progress | None = None) -> int:
    """Write the files of `archive` that `place` maps to a path below `target`, and return their number.

    A file of the full size is skipped, so a repeated call resumes an interrupted one; each file is written under a
    temporary name and then renamed.

    Raises:
        UserError: the archive is cut short or damaged, or has encrypted members, links, devices or paths that leave
            the target, or the disk has too little space.
    """
    with _named_damage(archive), _opened(archive) as members:
        _check_members(archive, members)
        files = [
            (target / inner, member)
            for member in members
            if member.kind == "file" and (inner := place(PurePosixPath(member.name))) is not None
        ]
        missing = [
            (path, member)
            for path, member in files
            if not path.is_file() or path.stat().st_size != member.size
        ]
        _check_space(archive, target, sum(member.size for _, member in missing))
        for done, (path, member) in enumerate(missing, start=len(files) - len(missing) + 1):
            stream = member.open()
            assert stream is not None
            with new_file(path) as working, working.open("wb") as file, stream:
                shutil.copyfileobj(stream, file, 1 << 20)
            if progress is not None:
                progress(done, len(files))
    return len(files)


def climbs(name: str) -> bool:
    """Return whether a path leaves the folder that it is joined to, on any operating system."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or name[1:2] == ":"


def _check_members(archive: Path, members: list[Member]) -> None:
    kinds = [
        f"{member.name!r} ({member.kind})" for member in members if member.kind not in ("file", "folder")
    ]
    outside = [repr(member.name) for member in members if climbs(member.name)]
    for names, fault in ((outside, "leave the folder"), (kinds, "are neither files nor folders")):
        if names:
            raise UserError(
                f"archive {archive}: {len(names)} members {fault}: {short_list(names, most=3)}; nothing was unpacked, "
                "for the official archive has no such member: fetch it from the official page"
            )


def _check_space(archive: Path, target: Path, needed: int) -> None:
    target.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target).free
    if needed > free:
        raise UserError(
            f"archive {archive} unpacks to {needed:,} bytes, {target} has room for {free:,}; "
            "free some space, or unpack elsewhere with --raw"
        )


@contextmanager
def _opened(archive: Path) -> Iterator[list[Member]]:
    """Yield the members of an archive, which stays open during the block."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as file:
            yield [
                Member(info.filename, info.file_size, _zip_kind(info), partial(file.open, info))
                for info in file.infolist()
            ]
    else:
        with tarfile.open(archive) as tar:
            members = [
                Member(info.name, info.size, _tar_kind(info), partial(tar.extractfile, info)) for info in tar
            ]
            _check_end(tar)
            yield members


def _zip_kind(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 1:
        return "encrypted"
    if S_IFMT(info.external_attr >> 16) not in (0, S_IFREG, S_IFDIR):  # 0: made on a system without modes
        return "link or device"
    return "folder" if info.is_dir() else "file"


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "link"
    return "file" if info.isreg() else "folder" if info.isdir() else "device"


def _check_end(tar: tarfile.TarFile) -> None:
    """Check the end of the archive, because tarfile takes a cut between two members for the end."""
    assert tar.fileobj is not None
    if isinstance(tar.fileobj, gzip.GzipFile):
        while tar.fileobj.read(1 << 20):  # gzip verifies the checksum at the end.
            pass
        return
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it has no end mark")


@contextmanager
def _named_damage(archive: Path) -> Iterator[None]:
    """Turn the exceptions for a damaged archive into a `UserError` that names it."""
    try:
        yield
    except NotImplementedError as error:
        raise UserError(
            f"archive {archive} is packed in a way that Python cannot read ({error}); unpack it with another "
            "program and give the folder"
        ) from error
    except _BROKEN as error:
        raise UserError(
            f"archive {archive} is cut short or damaged ({error}); fetch it again; unpacked files are kept"
        ) from error
