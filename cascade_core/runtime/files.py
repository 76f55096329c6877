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


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder that becomes `target` when the block ends well, replacing what stood there.

    If the block raises, `target` stays as it was.

    Raises:
        UserError: the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    put_back(target)
    working = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        # mkdtemp's folders are private, and so are safetensors' files; outputs are meant to be read, by steps
        # that run as another user too.
        working.chmod(0o755)
        with _room_for(target):
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
        UserError: the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    working = target.with_name(f".{target.name}.partial")
    try:
        with _room_for(target):
            yield working
        working.replace(target)
    finally:
        working.unlink(missing_ok=True)


@contextmanager
def _room_for(target: Path) -> Iterator[None]:
    """Tell a full disk in one sentence; any other error goes on as it is."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if not disk_is_full(error):
            raise
        where = getattr(error, "filename", None) or target
        raise UserError(
            f"{target} could not be written: no space left for {where}; what stood there is untouched. "
            "Free some space, or write elsewhere"
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


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        UserError: the file is missing or does not parse; the message names it.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run the step that writes it first") from None
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
