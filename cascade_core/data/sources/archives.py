"""Unpack archives safely and member by member; a repeated call resumes an interrupted one.

All members are checked before the first is written. An archive is refused as a whole if a member is neither file nor
folder, or if its path leaves the target folder: no official archive has such a member.
"""

import errno
import gzip
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from stat import S_IFDIR, S_IFMT, S_IFREG
from typing import IO

from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file, system_errors_as_user_errors
from cascade_core.runtime.listing import check_unique, short_list
from cascade_core.runtime.pool import Progress

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
MOST_RATIO = 100
"""Limit on the unpacked size as a multiple of the archive's; pictures and label maps are packed already."""
SMALL = 2**26
"""Bytes to which any archive may unpack."""
MOST_MEMBERS = 1_000_000
MOST_HEADER = 2**20
"""Limit on a tar's long names and other records about a member, in bytes."""
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, ValueError, ArithmeticError,
           struct.error, RecursionError)  # fmt: skip
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
    with system_errors_as_user_errors(), _named_damage(archive), _opened(archive) as members:
        _check_members(archive, members)
        files = [
            (target / inner, member)
            for member in members
            if member.kind == "file" and (inner := place(PurePosixPath(member.name))) is not None
        ]
        check_unique(
            ((path, member.name) for path, member in files),
            what=f"archive {archive}:",
            way_out="fetch it again",
        )
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
    return (
        not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or "\0" in name
        or name[1:2] == ":"
    )


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
            yield _counted(archive, map(partial(_zip_member, file), file.infolist()))
    else:
        with archive.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        # No other compression is tried, because xz may allocate gigabytes before it unpacks a byte.
        with tarfile.open(archive, "r:gz" if packed else "r:", tarinfo=_Header) as tar:
            members = (
                Member(info.name, info.size, _tar_kind(info), partial(tar.extractfile, info)) for info in tar
            )
            listed = _counted(archive, members)
            _check_end(tar)
            yield listed


class _Header(tarfile.TarInfo):
    """A member's header that reports negative sizes and huge records as damage."""

    def _block(self, count: int) -> int:
        # Python before July 2025 loops forever on a negative size.
        if count < 0 or (self.type in _RECORDS and count > MOST_HEADER):
            raise tarfile.ReadError(f"a header states a size of {count} bytes")
        return int(super()._block(count))  # type: ignore[misc]


_RECORDS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


def _counted(archive: Path, members: Iterable[Member]) -> list[Member]:
    """List the members, and check their number and total size.

    Raises:
        UserError: there are too many, or they unpack to too many bytes.
    """
    most = max(MOST_RATIO * archive.stat().st_size, SMALL)
    listed, total = [], 0
    for member in members:
        listed.append(member)
        total += member.size
        if total > most or len(listed) > MOST_MEMBERS:
            raise UserError(
                f"archive {archive} unpacks to more than {most:,} bytes, {MOST_RATIO} times its size, or has more than "
                f"{MOST_MEMBERS:,} members; nothing was unpacked: fetch it from the official page"
            )
    return listed


def _zip_member(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError(f"method {info.compress_type}")
    return Member(info.filename, info.file_size, _zip_kind(info), partial(file.open, info))


def _zip_kind(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 1:
        return "encrypted"
    if S_IFMT(info.external_attr >> 16) not in (0, S_IFREG, S_IFDIR):  # 0: made on a system without modes
        return "link or device"
    return "folder" if info.filename.endswith("/") else "file"


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "link"
    return "file" if info.isreg() else "folder" if info.isdir() else "device"


def _check_end(tar: tarfile.TarFile) -> None:
    """Check the end of the archive, because tarfile takes a cut between two members for the end."""
    assert tar.fileobj is not None
    if isinstance(tar.fileobj, gzip.GzipFile):
        # gzip verifies the checksum at the end, which follows a few zeros.
        if len(tar.fileobj.read(MOST_HEADER)) == MOST_HEADER:
            raise tarfile.ReadError("it goes on after its end")
        return
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it has no end mark")


@contextmanager
def _named_damage(archive: Path) -> Iterator[None]:
    """Turn the exceptions for a damaged archive into a `UserError` that names it."""
    try:
        yield
    except UserError:
        raise
    except NotImplementedError as error:
        raise UserError(
            f"archive {archive} has a compression or encryption that is not supported ({error}); unpack it with another "
            "program and give the folder"
        ) from error
    except _BROKEN as error:
        raise UserError(
            f"archive {archive} is cut short or damaged ({error}); fetch it again; unpacked files are kept"
        ) from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise UserError(f"archive {archive} is damaged: it points outside itself; fetch it again") from error
