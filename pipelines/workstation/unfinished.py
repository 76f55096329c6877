"""Clean up after a killed workflow: remove DVC's lock, and close the MLflow runs that are still RUNNING."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from cascade_core.errors import UserError
from components.tracking.pipeline_run import close_run
from components.tracking.store import open_store, tracking_off

log = logging.getLogger(__name__)

DVC_LOCK = Path(".dvc/tmp/rwlock")
WORKFLOWS = Path(".dvc/tmp/workflows")
"""The folder with a file for each workflow that has not ended; the file holds the id of its MLflow run."""


@contextmanager
def only_workflow() -> Iterator[Path]:
    """Clean up after killed workflows, then yield the file for the id of this workflow's MLflow run.

    The operating system releases the lock when its holder dies.

    Raises:
        UserError: another workflow or DVC command works in this folder.
    """
    WORKFLOWS.mkdir(parents=True, exist_ok=True)
    lock = FileLock(WORKFLOWS / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another `cascade-clip run` works in {Path.cwd()}; wait until it ends") from None
    with lock:
        free_dvc_lock()
        for left in WORKFLOWS.glob("*.run"):
            close_killed(left)
        run_file = WORKFLOWS / f"{uuid4().hex}.run"
        yield run_file
        _forget(run_file)


def close_killed(run_file: Path) -> None:
    """Set the runs of a killed workflow to KILLED; keep the file if the store does not answer, for the next start."""
    run_id = run_file.read_text(encoding="utf-8").strip() if run_file.exists() else ""
    if run_id and tracking_off():
        return
    try:
        if run_id:
            close_run(run_id=run_id, succeeded=False, error="the workflow was killed")
            open_store().set_terminated(run_id, "KILLED")
    except UserError as error:
        log.warning("the MLflow run of a killed workflow stays open: %s", error)
    else:
        _forget(run_file)


def free_dvc_lock() -> None:
    """Remove DVC's lock file if all processes in it have ended.

    DVC does so itself, except if a new process has the number of an ended one. A process that started after the file
    was written cannot be the holder.

    Raises:
        UserError: a process with the number of a holder runs and may be the holder.
    """
    import psutil

    try:
        held, written = json.loads(DVC_LOCK.read_text(encoding="utf-8")), DVC_LOCK.stat().st_mtime
    except (FileNotFoundError, json.JSONDecodeError):  # DVC itself reports a damaged file
        return
    dead = set()
    for pid, command in sorted(_holders(held)):
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).create_time() <= written:
                raise UserError(
                    f"process {pid} holds DVC's lock (`{command}`): wait until it ends, or, if `ps -p {pid}` shows "
                    f"another program, remove the lock of a killed process: rm {DVC_LOCK}"
                )
        dead.add(pid)
    if dead:
        log.warning("DVC's lock of killed processes (%s) is removed", ", ".join(map(str, sorted(dead))))
        DVC_LOCK.unlink()


def _holders(held: dict[str, Any]) -> set[tuple[int, str]]:
    """Return number and command of each process in DVC's lock file: one writer or several readers by path."""
    writers = held.get("write", {}).values()
    readers = [one for several in held.get("read", {}).values() for one in several]
    return {(int(one["pid"]), str(one["cmd"])) for one in (*writers, *readers)}


def _forget(run_file: Path) -> None:
    for path in (run_file, run_file.with_name(f".{run_file.name}.lock")):
        path.unlink(missing_ok=True)
