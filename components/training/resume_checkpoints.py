"""The resume checkpoints of a training: the last two, each sealed by checksums, so one of them is always whole.

`resume` is the newest and `resume.before` the one before it. A checkpoint appears by a rename, after its files and their
checksums have reached the disk, and goes by a rename too: no kill leaves a half checkpoint that looks like a whole one.
"""

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from pydantic import TypeAdapter

from cascade_core.checkpoints.manifest import MANIFEST_FILE
from cascade_core.errors import UserError
from cascade_core.runtime.files import sha256
from cascade_core.runtime.listing import shortened
from components.results.names import HISTORY_FILE

log = logging.getLogger(__name__)

NEWEST, BEFORE = "resume", "resume.before"
CHECKSUMS_FILE = "checksums.json"

_PARTIAL, _DROPPED, _DAMAGED = ".resume.partial.", ".resume.dropped", ".resume.damaged"


def add_checkpoint(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new checkpoint of the training in `folder`; the newest becomes the one before."""
    # A name of its own: a training that lost this folder to us may still write its last one.
    working = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
    working.chmod(0o755)
    write(working)
    _seal(working)
    if (folder / NEWEST).exists():
        _remove(folder / BEFORE)
        (folder / NEWEST).rename(folder / BEFORE)
    working.rename(folder / NEWEST)
    _sync(folder)


def newest_checkpoint(folder: Path) -> Path | None:
    """Give the newest checkpoint in `folder` whose checksums match; None if there is none at all.

    A damaged checkpoint is set aside, with a warning. One of an earlier version of the project has no checksums and
    counts as whole.

    Raises:
        UserError: all checkpoints are damaged.
    """
    damages: list[str] = []
    for checkpoint in (folder / NEWEST, folder / BEFORE):
        if not checkpoint.exists():
            continue
        if (damage := _damage(checkpoint)) is None:
            if damages:
                log.warning("%s; falling back to the checkpoint before it", damages[0])
                _remove(folder / _DAMAGED)
                (folder / NEWEST).rename(folder / _DAMAGED)
            return checkpoint
        damages.append(damage)
    if damages:
        raise UserError(f"{damages[0]}, and no earlier checkpoint is whole; start anew with --no-resume")
    return None


def remove_checkpoints(folder: Path) -> None:
    """Remove all checkpoints in `folder`, and what a killed process left of others."""
    for name in (BEFORE, NEWEST, _DAMAGED):
        _remove(folder / name)
    for leftover in (folder / _DROPPED, *folder.glob(f"{_PARTIAL}*")):
        shutil.rmtree(leftover, ignore_errors=True)


def _seal(checkpoint: Path) -> None:
    """Write the checksums of all files, and force files and names onto the disk."""
    files = sorted(path for path in checkpoint.iterdir() if path.is_file())
    checksums = {path.name: sha256(path) for path in files}
    (checkpoint / CHECKSUMS_FILE).write_text(
        json.dumps(checksums, indent=2, allow_nan=False) + "\n", encoding="utf-8"
    )
    for path in (*files, checkpoint / CHECKSUMS_FILE, checkpoint):
        _sync(path)


def _damage(checkpoint: Path) -> str | None:
    """Say which file of a checkpoint is missing or differs from its checksum."""
    file = checkpoint / CHECKSUMS_FILE
    try:
        text = file.read_text(encoding="utf-8")
        checksums = TypeAdapter(dict[str, str]).validate_json(text)
        names = [name for name in checksums if Path(name).name == name]
    except FileNotFoundError:
        earlier_version = (checkpoint / MANIFEST_FILE).is_file() and not (checkpoint / HISTORY_FILE).exists()
        return None if earlier_version else f"{file} is missing"
    except (OSError, ValueError) as error:
        return f"{file} cannot be read ({shortened(str(error))})"
    for name in names:
        path = checkpoint / name
        if not path.is_file():
            return f"{path} is missing"
        if sha256(path) != checksums[name]:
            return f"{path} is damaged: it does not match its checksum"
    return None if MANIFEST_FILE in names else f"{file} does not list {MANIFEST_FILE}"


def _remove(folder: Path) -> None:
    """Remove a folder that a kill may interrupt: its name goes first."""
    dropped = folder.with_name(_DROPPED)
    if dropped.exists():
        shutil.rmtree(dropped)
    if folder.exists():
        folder.rename(dropped)
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
