"""What a command may write to: it replaces only what a command of this project wrote, and never a link or a device."""

import json
import os
import stat
import sys
from pathlib import Path

from cascade_core.errors import UserError

MANIFEST_FILE = "manifest.json"
CHECKPOINT, MODEL_FOLDER = "a checkpoint", "a model folder"
"""What `written_by` calls the two kinds of folders that a part of a step writes."""

LONGEST_MARK = "..12345678.writing"
"""What the longest temporary name adds to the name of its target."""


def writable_folder(target: Path) -> Path:
    """Return the folder to replace for `target`: itself, or the target of that link. Changes nothing.

    Raises:
        UserError: as of `replaceable_folder`, or it contains files that no command of this project wrote.
    """
    real = replaceable_folder(target)
    if real.exists() and any(real.iterdir()) and written_by(real) is None:
        raise UserError(
            f"{target} contains files, and no {MANIFEST_FILE} says that a command of this project wrote them; give a "
            "new or an empty folder, or move that one away"
        )
    return real


def replaceable_folder(target: Path) -> Path:
    """Return the folder to replace for `target`, whatever it contains. Changes nothing.

    Raises:
        UserError: something else than a folder stands there, a mount point, or the folder of this process; or the
            folder around it takes no new files.
    """
    real = _followed(target)
    if real.exists():
        _check_is_folder(target, real)
        if real.is_mount() or Path.cwd().is_relative_to(real.resolve()):
            raise UserError(
                f"{target} is a mount point, or this command runs in it; give another folder, such as one below it"
            )
    check_room(real)
    return real


def check_path(target: Path) -> None:
    """Check a path to which a file or a folder will be written, before it is known which.

    Raises:
        UserError: a special file stands there, or the folder around it takes no new files.
    """
    real = _followed(target)
    if real.exists() and not (real.is_file() or real.is_dir()):
        raise UserError(f"{target} is {_kind(real)}, which is not replaced; choose another place")
    check_room(real)


def check_gathering_folder(target: Path) -> None:
    """Check a folder that takes new files and keeps its others; it may not exist yet.

    Raises:
        UserError: something else than a folder stands there, or it takes no new files.
    """
    real = _followed(target)
    if real.exists():
        _check_is_folder(target, real)
    check_room(real / "file")


def writable_file(target: Path, *, begins: bytes = b"") -> Path:
    """Return the file to write: `target`, or the target of that link. Changes nothing.

    `begins` is what an existing file begins with if this command wrote it; another file is not replaced.

    Raises:
        UserError: a folder, a device or a file with another beginning stands there, or the folder around it takes
            no new files.
    """
    real = _followed(target)
    if real.exists():
        if not real.is_file():
            raise UserError(f"{target} is {_kind(real)}, and a file is to be written; choose another place")
        with real.open("rb") as stream:
            content = stream.read(len(begins))
        if content and content != begins:
            raise UserError(
                f"{target} exists, and this command did not write it, for it does not begin with "
                f"{begins.decode()!r}; give another path, or move that file away"
            )
    check_room(real)
    return real


def check_room(target: Path) -> None:
    """Check that the folder around `target` takes new files, or that such a folder can be made.

    Raises:
        UserError: it does not, or a name is too long.
    """
    target = target.absolute()
    try:
        os.lstat(target.with_name(f".{target.name}{LONGEST_MARK}"))
    except (FileNotFoundError, NotADirectoryError):
        pass  # The name is possible; the rest of this function looks at the folder.
    except OSError as error:
        raise UserError(f"{target}: {error.strerror}; choose a shorter name, or another place") from error
    place = next(folder for folder in target.parents if os.path.lexists(folder))
    if not place.is_dir():
        raise UserError(
            f"{target}: {place} is {_kind(place)}, and a folder must be there; choose another place"
        )
    if not os.access(place, os.W_OK | os.X_OK):
        if _is_read_only(place):
            raise UserError(
                f"{target} cannot be written: the file system of {place} is read-only; choose another place"
            )
        raise UserError(
            f"{target} cannot be written: {place} takes no files; check its permissions, or choose another place"
        )


def nearest_existing(path: Path) -> Path:
    """Return the path itself or the nearest folder above it that exists, such as for the free space there."""
    return next(part for part in (path.absolute(), *path.absolute().parents) if part.exists())


def _is_read_only(place: Path) -> bool:
    """Return whether a folder's file system is read-only; False where the system does not say (Windows)."""
    return sys.platform != "win32" and bool(os.statvfs(place).f_flag & os.ST_RDONLY)


def written_by(folder: Path) -> str | None:
    """Return the step that wrote a folder, as its manifest says, or what else of this project it is, or None."""
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    match manifest:
        case {"step": str(step), "content_sha256": str()}:
            return step
        case {"config": dict(), "iteration": int()}:
            return CHECKPOINT
        case {"format": int()} if (folder / "checkpoint").is_dir():
            return MODEL_FOLDER
    return None


def _followed(target: Path) -> Path:
    if not target.is_symlink() and target.name not in ("", ".."):
        return target
    real = Path(os.path.realpath(target))
    if real.is_symlink():
        raise UserError(f"{target} is a link that leads to itself; give another path")
    return real


def _check_is_folder(target: Path, real: Path) -> None:
    if not real.is_dir():
        raise UserError(f"{target} is {_kind(real)}, and a folder is to be written; choose another place")


def _kind(path: Path) -> str:
    """Say what stands at a path: a file, a folder, or a special file."""
    mode = path.stat().st_mode
    kinds = {
        stat.S_ISREG: "a file",
        stat.S_ISDIR: "a folder",
        stat.S_ISFIFO: "a pipe",
        stat.S_ISSOCK: "a socket",
    }
    return next((name for is_kind, name in kinds.items() if is_kind(mode)), "a device")
