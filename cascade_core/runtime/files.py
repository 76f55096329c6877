"""Writing so that nothing is ever half there, a temporary name beside the target and then a rename; and reading."""

import errno
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError

from cascade_core.errors import UserError

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
}
"""What to do about what the machine refuses, by the system's number of the error."""


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder that becomes `target` when the block ends well, replacing what stood there.

    If the block raises, `target` stays as it was.

    Raises:
        UserError: the machine refuses to write there, or what the block asks of a file; see `refusals_of_machine`.
    """
    with refusals_of_machine(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        put_back(target)
        working = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            # mkdtemp's folders are private, and so are safetensors' files; outputs are meant to be read, by steps
            # that run as another user too.
            working.chmod(0o755)
            yield working
            for file in working.rglob("*"):
                if file.is_file():
                    file.chmod(file.stat().st_mode | 0o444)
            put_in_place(working, target)
        finally:
            shutil.rmtree(working, ignore_errors=True)


def put_in_place(working: Path, target: Path) -> None:
    """Let a finished folder take the place of `target`, beside which it lies.

    The earlier one steps aside and goes last: a process that is killed at any moment leaves one of the two whole,
    and `put_back` finds it.
    """
    put_back(target)
    aside = _aside(target)
    if target.exists():
        target.rename(aside)
    working.rename(target)
    shutil.rmtree(aside, ignore_errors=True)


def put_back(target: Path) -> None:
    """Undo a swap that was killed half-way: the earlier folder returns, unless the new one had taken its place."""
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
def new_file(target: Path) -> Iterator[Path]:
    """Give a path to write to that becomes `target` when the block ends well.

    Raises:
        UserError: the machine refuses to write there; see `refusals_of_machine`.
    """
    working = target.with_name(f".{target.name}.partial")
    with refusals_of_machine(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield working
            working.replace(target)
        finally:
            working.unlink(missing_ok=True)


@contextmanager
def refusals_of_machine(target: Path | None = None) -> Iterator[None]:
    """Turn what the machine refuses into one sentence; any other error goes on as it is.

    `target` is what the block writes, if it does: an earlier one is untouched then.

    Raises:
        UserError: in place of an error of the system that names a file, or says that the disk is full.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        if (sentence := refusal(error, target)) is None:
            raise
        raise UserError(sentence) from error


def refusal(error: OSError | SafetensorError, target: Path | None = None) -> str | None:
    """Say in a sentence what the machine refused, and the way out; None where the error names no file."""
    named = getattr(error, "filename", None)
    if disk_is_full(error):
        where = named or target or "a file"
        untouched = "" if target is None else f"{target} could not be written: "
        return (
            f"{untouched}no space left for {where}; what stood there is untouched. "
            "Free some space, or write elsewhere"
        )
    reason = getattr(error, "strerror", None)
    if named is None or reason is None:
        return None
    assert isinstance(error, OSError)
    return f"{named}: {reason}; {WAYS_OUT.get(error.errno or 0, 'check the path and the disk')}"


@contextmanager
def damage_told(weights: Path) -> Iterator[None]:
    """Name the file of weights that is cut short or no safetensors.

    Raises:
        UserError: in place of what safetensors raises, which names nothing.
    """
    try:
        yield
    except SafetensorError as error:
        raise UserError(
            f"{weights} cannot be read as safetensors ({error}); make or fetch it again"
        ) from error


def disk_is_full(error: BaseException) -> bool:
    """Say whether a file could not be written because there is no space left, or no more is allowed."""
    if isinstance(error, SafetensorError):  # It knows the number only in words.
        return any(f"(os error {number})" in str(error) for number in FULL)
    return isinstance(error, OSError) and error.errno in FULL


def write_json(target: Path, content: Any) -> None:
    """Write JSON with stable formatting, whole or not at all."""
    with new_file(target) as path:
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_text(path: Path, what: str) -> str:
    """Read a file as UTF-8 text, with or without a mark of the byte order.

    Raises:
        UserError: it cannot be read, or is other text; the message calls the file `what`.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        way_out = WAYS_OUT.get(error.errno or 0, "check the path and the disk")
        raise UserError(f"{what} {path} cannot be read ({error.strerror}); {way_out}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{what} {path} is not UTF-8 text ({error.reason}); save it as such") from error


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        UserError: the file is missing, unreadable or does not parse; the message names it.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run the step that writes it first") from None
    except OSError as error:
        raise UserError(refusal(error) or f"{path} cannot be read: {error}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not JSON: {error}") from error


def sha256(path: Path) -> str:
    """Return the hex digest of a file, or of a folder's relative names and contents in sorted order."""
    digest = hashlib.sha256()
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    for file in sorted(item for item in path.rglob("*") if item.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


def inside(root: Path, path: str) -> Path:
    """Join a relative path to the root.

    Raises:
        UserError: the path is empty or absolute, or climbs out of the root.
    """
    relative = PurePosixPath(path)
    if not relative.parts or relative.is_absolute() or ".." in relative.parts or "\\" in path or "\0" in path:
        raise UserError(f"path {path!r} leaves the data root {root}; paths are relative to it, without '..'")
    return root / relative
