"""The whole workflow on one workstation: DVC runs the stages that changed, then the results are printed."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cascade_core.datasets.catalogue import protocol as named_protocol
from cascade_core.errors import UserError
from cascade_core.runtime.cores import THREADS_VARIABLE
from cascade_core.runtime.files import read_json
from components.progress import rate_text
from components.results.rows import SCORES
from components.steps.report import BENCHMARK_FILE, PAGE_FILE
from components.tracking.page_links import where_runs_of
from components.tracking.pipeline_run import FILE_VARIABLE, close_run
from components.tracking.run_results import Results, Scored
from components.tracking.store import MLFLOW_SETTINGS
from pipelines.graphs.project import is_project, read_project
from pipelines.workstation import unfinished
from pipelines.workstation.shares import shares_of_cores
from pipelines.workstation.stage_results import result_lines, verdict_lines

log = logging.getLogger(__name__)

WORKFLOW_FILE = Path("dvc.yaml")
REPORTS, REPORT = Path("reports"), "report"
NO_TELEMETRY = {"DVC_NO_ANALYTICS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
TABLE_WIDTH = 110
"""The table's width in columns if the output is not a terminal."""


def repro(
    targets: Sequence[str] = (),
    *,
    pull: bool = True,
    force: bool = False,
    jobs: int | None = None,
    first: Sequence[str] = (),
    check: Callable[[], None] | None = None,
) -> None:
    """Run the changed stages in the working folder, with this environment's commands first on the PATH.

    Stages that do not need each other run side by side, at most `jobs` at a time; as many as the cores allow if None. The
    stages `first` and what they need run before the function `check`, and all others only if it raises nothing. Ctrl-C or
    SIGTERM interrupts the running stages; the call raises once they have saved their state and ended.

    Raises:
        UserError: there is no dvc.yaml here, another workflow or DVC command works here, a stage failed and logged why, or
            `check` raised it.
    """
    if not WORKFLOW_FILE.is_file():
        raise UserError(f"there is no {WORKFLOW_FILE} in {Path.cwd()}; run this in the project's folder")
    shares = shares_of_cores(jobs)
    flags = [flag for flag, active in (("--pull", pull), ("--force", force)) if active]
    flags.append(f"--jobs={shares.jobs}")
    with unfinished.only_workflow() as run_file:
        command = [sys.executable, "-m", "pipelines.workstation.repro", *flags]
        environment = {**stage_environment(shares.threads), FILE_VARIABLE: str(run_file)}
        try:
            status = _run([*command, *first], environment) if first else 0
            if check is not None and not status:
                check()
            status = status or _run([*command, *targets], environment)
        except BaseException:
            unfinished.close_killed(run_file)
            raise
        if run_file.exists():  # written by the first tracked stage
            whole = not status and (not targets or REPORT in targets)
            results = _results(REPORTS) if whole else None
            _close_run(run_file.read_text(encoding="utf-8").strip(), status, results)
    if status:
        raise UserError(f"the workflow stopped (dvc repro: exit {status}); run it again to resume")


def _run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command in its own process group; an interrupt of this process sends one SIGINT to the whole group.

    On Windows, Ctrl-C reaches every process of the console by itself.
    """
    group = None if sys.platform == "win32" else 0
    with subprocess.Popen(command, env=environment, process_group=group) as process:
        try:
            return process.wait()
        except BaseException:
            if sys.platform != "win32":
                os.killpg(process.pid, signal.SIGINT)
            process.wait()
            raise


def _close_run(run_id: str, status: int, results: Results | None) -> None:
    """Close the workflow's MLflow run; log a warning if the store is away, since the stages' results stand."""
    error = f"dvc repro: exit {status}" if status else None
    try:
        close_run(run_id=run_id, succeeded=not status, error=error, results=results)
    except UserError as store_error:
        log.warning("the workflow's MLflow run stays open: %s", store_error)


def _results(reports: Path) -> Results | None:
    """Return what a report step's folder holds for the workflow's run; None if there is no report.

    The run of a workflow in which few stages ran shows the best of all models, as the page does.
    """
    page = reports / PAGE_FILE
    if not page.is_file():
        return None
    models = [
        Scored(
            f"{row['method']} {row['setting']} seed {row['seed']}",
            {score: row[score] for score in SCORES if row[score] is not None},
        )
        for row in read_json(reports / BENCHMARK_FILE)
        if not str(row["setting"]).startswith("control")
    ]
    return Results(page, models)


def stage_environment(threads: int = 1) -> dict[str, str]:
    """Return the environment for stages: this interpreter's commands on the PATH, no telemetry, this number of threads.

    MLflow's settings are there too, because stages may share an import of MLflow that comes before they set them.
    `OMP_NUM_THREADS` in the environment overrides `threads`.
    """
    programs = str(Path(sys.executable).parent)
    path = os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])
    return {THREADS_VARIABLE: str(threads), **MLFLOW_SETTINGS, **os.environ, **NO_TELEMETRY, "PATH": path}


def print_outcome(targets: Sequence[str] = (), reports: Path = REPORTS) -> None:
    """Print the results of the whole workflow with the gate's verdicts, or a line for each of the stages that were asked for."""
    if not targets:
        print_results(reports)
        for line in verdict_lines(read_project()) if is_project() else ():
            print(f"model    {line}")
        return
    for line in result_lines(targets):
        print(line)
    if REPORT in targets:
        print(f"report   {(reports / PAGE_FILE).resolve()}")
    print_where_runs_are(_protocol())


def print_results(reports: Path = REPORTS) -> None:
    """Print the table of a report step, the path of its page, and what leads to its runs on MLflow's pages."""
    console = Console() if sys.stdout.isatty() else Console(width=TABLE_WIDTH)
    rows = read_json(reports / BENCHMARK_FILE)
    console.print(results_table(rows))
    # Not through rich: it would wrap lines that people paste.
    print(f"report   {(reports / PAGE_FILE).resolve()}")
    print_where_runs_are(rows[0]["protocol"] if rows else None)


def print_where_runs_are(protocol: str | None) -> None:
    """Print what leads to the runs of a protocol on MLflow's pages; nothing without tracking."""
    for title, line in zip(("MLflow", "runs"), where_runs_of(protocol), strict=False):
        print(f"{title:<8} {line}")


def _protocol() -> str | None:
    """Return the protocol of the project in the working folder, if there is one."""
    return named_protocol(read_project().protocol).name if is_project() else None


def results_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Lay out the rows of benchmark.json as a table, scores in percent."""
    first = rows[0] if rows else {}
    table = Table(title=f"{first.get('protocol', 'no results')}, {first.get('split', '')} split")
    for name in ("method", "setting"):
        table.add_column(name, no_wrap=True)
    for name in (*SCORES.values(), "trainable", "GMACs", "images/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        scores = [row[name] for name in SCORES]
        policy = row.get("background", "dropped")
        table.add_row(
            str(row["method"]),
            f"{row['setting']}" + ("" if policy == "dropped" else f", background by {policy}"),
            *(f"{100 * score:.1f}" if isinstance(score, int | float) else "-" for score in scores),
            f"{row['trainable_params']:,}",
            f"{row['gmacs']:.4g}",
            rate_text(row["images_per_second"]),
        )
    return table
