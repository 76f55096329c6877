"""The resume checkpoints of a training: the last few, each sealed by checksums, so one of them is always whole.

A checkpoint is a folder `step_NUMBER`. It appears by a rename, after its files and their checksums have reached the
disk, and goes by a rename too, so a kill at any moment leaves no half checkpoint that looks like a whole one.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from cascade_core.checkpoints.manifest import MANIFEST_FILE
from cascade_core.errors import UserError
from cascade_core.runtime.files import sha256

log = logging.getLogger(__name__)

CHECKSUMS_FILE = "checksums.json"
KEPT = 2
"""Number of checkpoints that stay; the one before the last replaces a damaged last one."""

_PARTIAL, _DROPPED = ".partial", ".dropped"


def add_checkpoint(folder: Path, iteration: int, write: Callable[[Path], None], *, keep: int = KEPT) -> Path:
    """Let `write` fill a new checkpoint of `folder`, seal it, and drop all but the newest `keep`.

    Checkpoints of later iterations are dropped as well: training fell back behind them because they are damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    working, target = folder / _PARTIAL, folder / f"step_{iteration:08d}"
    clear_leftovers(folder)
    working.mkdir()
    write(working)
    _seal(working)
    _drop([path for path in _checkpoints(folder) if path.name >= target.name])
    working.rename(target)
    _sync(folder)
    _drop(_checkpoints(folder)[keep:])
    for file in (path for path in folder.iterdir() if path.is_file()):  # a checkpoint of an earlier version
        file.unlink()
    return target


def newest_checkpoint(folder: Path) -> Path | None:
    """Give the newest checkpoint whose checksums match, with a warning for each newer one that is damaged.

    None if there is no checkpoint at all. A checkpoint of an earlier version lies in `folder` itself, without checksums.

    Raises:
        UserError: all checkpoints are damaged.
    """
    damages = []
    for checkpoint in _checkpoints(folder):
        if (damage := _damage(checkpoint)) is None:
            return checkpoint
        log.warning("%s: damaged checkpoint; falling back to the one before", damage)
        damages.append(damage)
    if damages:
        raise UserError(f"{damages[0]}: no checkpoint in {folder} is whole; start anew with --no-resume")
    return folder if (folder / MANIFEST_FILE).is_file() else None


def clear_leftovers(folder: Path) -> None:
    """Remove what a killed process left of a checkpoint that it wrote or dropped."""
    for name in (_PARTIAL, _DROPPED):
        if (folder / name).exists():
            shutil.rmtree(folder / name)


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step_*"), reverse=True)


def _seal(checkpoint: Path) -> None:
    """Write the checksums of all files, and force files and names onto the disk."""
    files = sorted(path for path in checkpoint.iterdir() if path.is_file())
    checksums = {path.name: sha256(path) for path in files}
    (checkpoint / CHECKSUMS_FILE).write_text(json.dumps(checksums, indent=2) + "\n")
    for path in (*files, checkpoint / CHECKSUMS_FILE, checkpoint):
        _sync(path)


def _damage(checkpoint: Path) -> str | None:
    """Name the first file that is missing or differs from its checksum."""
    file = checkpoint / CHECKSUMS_FILE
    try:
        checksums = json.loads(file.read_text(encoding="utf-8"))
        names = [name for name in checksums if Path(name).name == name]
    except (OSError, ValueError, TypeError) as error:
        return f"{file} cannot be read ({error})"
    for name in names:
        path = checkpoint / name
        if not path.is_file() or sha256(path) != checksums[name]:
            return f"{path} does not match its checksum"
    return None if MANIFEST_FILE in names else f"{file} does not list {MANIFEST_FILE}"


def _drop(checkpoints: list[Path]) -> None:
    for checkpoint in checkpoints:
        dropped = checkpoint.with_name(_DROPPED)
        checkpoint.rename(dropped)
        shutil.rmtree(dropped)


def _sync(path: Path) -> None:
    """Force a file, or the names in a folder, onto the disk; Windows cannot open a folder for that."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
