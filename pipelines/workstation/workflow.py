"""The whole workflow on one workstation: DVC runs what changed, then its results are told."""

import logging
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json
from components.tracking.pipeline_run import FILE_VARIABLE, close_run
from components.tracking.store import URI_VARIABLE, shown_uri

if TYPE_CHECKING:
    from rich.table import Table

log = logging.getLogger(__name__)

WORKFLOW_FILE = Path("dvc.yaml")
REPORTS, ROWS_FILE = Path("reports"), "benchmark.json"
QUIET = {"DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
TABLE_WIDTH = 110
"""Columns where the output is no terminal."""


def repro(targets: Sequence[str] = (), *, pull: bool = True, force: bool = False) -> None:
    """Run `dvc repro` in the working folder, with this environment's commands first on the path.

    Raises:
        UserError: there is no dvc.yaml here, or a stage failed (it has told why).
    """
    if not WORKFLOW_FILE.is_file():
        raise UserError(f"there is no {WORKFLOW_FILE} in {Path.cwd()}; run this in the project's folder")
    flags = [flag for flag, wanted in (("--pull", pull), ("--force", force)) if wanted]
    with tempfile.TemporaryDirectory() as scratch:
        note = Path(scratch, "parent_run")
        environment = {FILE_VARIABLE: str(note), **stage_environment()}
        status = subprocess.run(
            [sys.executable, "-m", "dvc", "repro", *flags, *targets], env=environment, check=False
        ).returncode
        _close(note, status)
    if status:
        raise UserError(f"the workflow stopped (dvc repro: exit {status}); run it again to go on from there")


def _close(note: Path, status: int) -> None:
    """End the run that the first tracked stage opened and noted; there is none where nothing ran."""
    if not note.exists():
        return
    error = f"dvc repro: exit {status}" if status else None
    try:
        close_run(run_id=note.read_text().strip(), succeeded=not status, error=error)
    except UserError as unclosed:
        # The stages are done whatever became of the store; how the workflow went must be told all the same.
        log.warning("the workflow's MLflow run stays open: %s", unclosed)


def stage_environment() -> dict[str, str]:
    """Give the environment for stages: this interpreter's commands on the path, no telemetry, one thread.

    The mini benchmark's tensors are too small for a second thread to pay, and two threads crawl where the
    machine does other work; `OMP_NUM_THREADS` overrides it.
    """
    here = str(Path(sys.executable).parent)
    path = os.pathsep.join([here, os.environ.get("PATH", os.defpath)])
    return {"OMP_NUM_THREADS": "1", **os.environ, **QUIET, "PATH": path}


def tell_outcome(targets: Sequence[str] = (), reports: Path = REPORTS) -> None:
    """Tell the results, or where only some stages were asked for and no report was ever made, that these are done."""
    if not targets or (reports / ROWS_FILE).is_file():
        tell_results(reports)
        return
    print(f"done     {', '.join(targets)}; there is no report yet: `cascade-clip run` makes it")
    print(f"MLflow   {mlflow_pages()}")


def tell_results(reports: Path = REPORTS) -> None:
    """Print the table of a report step, where its page lies, and how to open what MLflow recorded."""
    from rich.console import Console

    console = Console() if sys.stdout.isatty() else Console(width=TABLE_WIDTH)
    console.print(results_table(read_json(reports / ROWS_FILE)))
    # Not through rich, which would wrap lines that are meant to be pasted.
    print(f"report   {(reports / 'report.html').resolve()}")
    print(f"MLflow   {mlflow_pages()}")


def mlflow_pages() -> str:
    """Say how to open the tracking store's pages: a server's address, else the command that serves them here alone.

    A password is shown in neither: the command takes an address that holds one from the variable.
    """
    uri = os.environ.get(URI_VARIABLE) or "sqlite:///mlruns/mlflow.db"
    if uri.startswith(("http://", "https://")):
        return shown_uri(uri)
    program = Path(sys.executable).parent / "mlflow"
    shown = os.path.relpath(program) if program.is_relative_to(Path.cwd()) else str(program)
    store = shlex.quote(uri) if shown_uri(uri) == uri else f'"${URI_VARIABLE}"'
    return f"{shown} ui --backend-store-uri {store} --host 127.0.0.1 --port 5000"


def results_table(rows: Sequence[dict[str, object]]) -> "Table":
    """Lay out the rows of benchmark.json, scores in percent."""
    from rich.table import Table

    first = rows[0] if rows else {}
    table = Table(title=f"{first.get('protocol', 'no results')}, {first.get('split', '')} split")
    for name in ("method", "setting"):
        table.add_column(name, no_wrap=True)
    for name in ("pAcc", "mIoU(S)", "mIoU(U)", "hIoU", "trainable", "GMACs", "images/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        scores = [_percent(row[name]) for name in ("pAcc", "miou_seen", "miou_unseen", "hiou")]
        speed = [f"{row['trainable_params']:,}", f"{row['gmacs']:.4g}", f"{row['images_per_second']:.1f}"]
        policy = row.get("background", "dropped")
        setting = f"{row['setting']}" + ("" if policy == "dropped" else f", background by {policy}")
        table.add_row(str(row["method"]), setting, *scores, *speed)
    return table


def _percent(fraction: object) -> str:
    return f"{100 * fraction:.1f}" if isinstance(fraction, int | float) else "-"
