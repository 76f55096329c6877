"""Atomic writing (under a temporary name beside the target, then a rename), reading, hashing and safe paths."""

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import lock_descriptor
from safetensors import SafetensorError

from cascade_core.errors import UserError
from cascade_core.runtime.targets import writable_file, writable_folder

WRITING = ".writing"
"""Ending of a folder that is being written, after the name of its target."""

MOST_TEXT = 2**24
"""The most bytes of a text file of names or settings."""
MOST_JSON = 24 * 2**20
"""The most bytes of a JSON file, whose values take up to thirty times as much memory. A million pictures' names fit."""
DEEPEST = 50
"""The most levels of mappings and lists in JSON and YAML."""
FULL = (errno.ENOSPC, errno.EDQUOT)
WAYS_OUT = {
    errno.ENOENT: "check the path",
    errno.EACCES: "check its permissions, or choose another place",
    errno.EPERM: "check its permissions, or choose another place",
    errno.EROFS: "choose another place",
    errno.EEXIST: "choose another place, or move that file away",
    errno.ENOTDIR: "a file stands where a folder must be: choose another place, or move it away",
    errno.EISDIR: "a folder stands where a file must be: give a file",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EBUSY: "it is in use, such as a mount point: choose another place",
    errno.EIO: "check the disk",
    errno.ELOOP: "a link leads to itself: choose another place",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENOTEMPTY: "choose another place",
    errno.ESTALE: "check the network drive",
    errno.EXDEV: "choose a place on one disk",
}
"""Advice for each system error, by errno."""


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `target` when the block succeeds; if it raises, `target` stays unchanged.

    Writes to the target of a link.

    Raises:
        UserError: `target` is not to be replaced (see `writable_folder`), or a file cannot be written or read (see
            `system_errors_as_user_errors`).
    """
    with system_errors_as_user_errors(target):
        target = writable_folder(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        put_back(target)
        _remove_leftovers(target)
        working = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=WRITING, dir=target.parent))
        try:
            # mkdtemp's folders and safetensors' files are private, but steps of other users read outputs too.
            working.chmod(0o755)
            with _locked(working):
                yield working
                for file in working.rglob("*"):
                    if file.is_file():
                        file.chmod(file.stat().st_mode | 0o444)
                put_in_place(working, target)
        finally:
            shutil.rmtree(working, ignore_errors=True)


def _remove_leftovers(target: Path) -> None:
    """Remove what killed processes left of new folders for `target`; living ones hold a lock on theirs."""
    for leftover in target.parent.glob(f".{glob.escape(target.name)}.*{WRITING}"):
        with suppress(FileNotFoundError), _locked(leftover) as abandoned:
            if abandoned:
                shutil.rmtree(leftover)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Lock a folder until the block or the process ends, and yield whether that was possible.

    It is not while another process has the lock, nor on a file system without locks.
    """
    descriptor, locked = None, False
    with suppress(OSError):  # Windows opens no folder
        descriptor = os.open(folder, os.O_RDONLY)
        locked = lock_descriptor(descriptor, blocking=False)
    try:
        yield locked
    finally:
        if descriptor is not None:
            os.close(descriptor)


def put_in_place(working: Path, target: Path) -> None:
    """Replace `target` by a finished folder beside it.

    This renames the old folder first and deletes it last. A process killed at any moment leaves one of the two
    complete, and `put_back` restores it.
    """
    put_back(target)
    aside = _aside(target)
    if target.exists():
        target.rename(aside)
    working.rename(target)
    shutil.rmtree(aside, ignore_errors=True)


def put_back(target: Path) -> None:
    """Repair a swap that was killed half-way: keep the new folder if it is in place, else restore the old one."""
    aside = _aside(target)
    if not aside.exists():
        return
    if target.exists():
        shutil.rmtree(aside)
    else:
        aside.rename(target)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.replaced")


@contextmanager
def new_file(target: Path, *, begins: bytes = b"") -> Iterator[Path]:
    """Yield a path to write to; the file there replaces `target` when the block succeeds.

    Writes to the target of a link.

    Raises:
        UserError: `target` is not to be replaced (`writable_file` explains `begins`), or the file cannot be written
            (see `system_errors_as_user_errors`).
    """
    with system_errors_as_user_errors(target):
        target = writable_file(target, begins=begins)
        working = target.with_name(f".{target.name}.partial")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield working
            working.replace(target)
        finally:
            working.unlink(missing_ok=True)


@contextmanager
def system_errors_as_user_errors(target: Path | None = None) -> Iterator[None]:
    """Turn system errors that the user can mend into a `UserError`; raise all others unchanged.

    `target` is the file or folder that the block writes, if any.

    Raises:
        UserError: a system error names a file or has a known remedy, such as a full disk.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        if (sentence := explain_system_error(error, target)) is None:
            raise
        raise UserError(sentence) from error


def explain_system_error(error: OSError | SafetensorError, target: Path | None = None) -> str | None:
    """Describe a system error and its remedy in a sentence; return None if it names no file and has no known remedy."""
    number, named = _errno(error), getattr(error, "filename", None)
    if target is not None and Path(str(named)).name.startswith(f".{target.name}."):
        named = target  # The name of a temporary file says nothing to the user.
    if disk_is_full(error):
        unwritten = "" if target is None else f"{target} could not be written: "
        return (
            f"{unwritten}no space left for {named or target or 'a file'}; an earlier version is unchanged. "
            "Free some space, or write elsewhere"
        )
    if number is None or (named is None and number not in WAYS_OUT):
        return None
    reason = getattr(error, "strerror", None) or os.strerror(number)
    return f"{named or target or 'a file'}: {reason}; {WAYS_OUT.get(number, 'check the path and the disk')}"


def _errno(error: BaseException) -> int | None:
    if isinstance(error, SafetensorError):  # has the number only in its text
        number = re.search(r"\(os error (\d+)\)", str(error))
        return int(number[1]) if number else None
    return error.errno if isinstance(error, OSError) else None


def disk_is_full(error: BaseException) -> bool:
    """Return whether a write failed because the disk is full or a quota is used up."""
    return _errno(error) in FULL


def write_json(target: Path, content: Any) -> None:
    """Write JSON atomically and with stable formatting."""
    with new_file(target) as path:
        path.write_text(
            json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )


def read_text(path: Path, what: str, *, most: int = MOST_TEXT) -> str:
    """Read a UTF-8 text file, with or without a byte order mark.

    Raises:
        UserError: the file is unreadable, not UTF-8, or longer than `most` bytes; the message calls it `what`.
    """
    try:
        text = _read_bytes(path, f"{what} {path}", most).decode("utf-8-sig")
        return text.replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        way_out = WAYS_OUT.get(error.errno or 0, "check the path and the disk")
        raise UserError(f"{what} {path} cannot be read ({error.strerror}); {way_out}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{what} {path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error


def read_json(path: Path, *, most: int = MOST_JSON) -> Any:
    """Read JSON.

    Raises:
        UserError: the file is missing, unreadable, longer than `most` bytes or too deep, or is no JSON; the message
            names it.
    """
    try:
        text = _read_bytes(path, str(path), most).decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run the step that writes it first") from None
    except OSError as error:
        raise UserError(explain_system_error(error) or f"{path} cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    try:
        content = json.loads(text)
        too_deep = isinstance(content, dict | list) and _is_deep(content)
    except ValueError as error:  # a syntax error, or a number of more than 4,300 digits
        raise UserError(f"{path} is not JSON: {error}") from error
    except RecursionError:
        too_deep = True
    if too_deep:
        raise UserError(f"{path} is nested more than {DEEPEST} levels deep; no step writes such a file")
    if "\\ud" in text.lower() and _has_surrogates(content):
        raise UserError(
            f"{path} holds half a letter (a surrogate), which no text may hold; write that text anew"
        )
    return content


def _read_bytes(path: Path, what: str, most: int) -> bytearray:
    """Read a file piece by piece, since the length of a pipe is unknown; UserError if it is longer than `most`."""
    content = bytearray()
    with path.open("rb") as stream:
        while len(content) <= most and (part := stream.read(2**20)):
            content += part
    if len(content) > most:
        raise UserError(f"{what} has more than {most:,} bytes; give a smaller file")
    return content


def _has_surrogates(content: Any) -> bool:
    """Return whether a text cannot be written as UTF-8, which only escapes in JSON bring about."""
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _is_deep(content: dict[str, Any] | list[Any]) -> bool:
    """Return whether mappings and lists are nested more than `DEEPEST` levels."""
    level: list[Any] = [content]
    for _ in range(DEEPEST):
        children = (child for node in level for child in (node.values() if isinstance(node, dict) else node))
        level = [child for child in children if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def sha256(path: Path) -> str:
    """Return the hex digest of a file, or of a folder's relative names and contents in sorted order."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in sorted(item for item in path.rglob("*") if item.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


def inside(root: Path, path: str) -> Path:
    """Join a relative path to the root.

    Raises:
        UserError: the path is empty or absolute, or leaves the root.
    """
    relative = PurePosixPath(path)
    if not relative.parts or relative.is_absolute() or ".." in relative.parts or "\\" in path or "\0" in path:
        raise UserError(f"path {path!r} leaves the data root {root}; paths are relative to it, without '..'")
    return root / relative
