"""Commands about runs on a cluster: submit a pipeline, see how a run stands, upload a pipeline by name."""

import logging
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cascade_core.runtime.exit_codes import ExitCode
from pipelines.cli.kubeflow_options import Chosen, Experiment, Given, Server, unbundled

if TYPE_CHECKING:
    from pipelines.kubeflow.cluster import Cluster
    from pipelines.kubeflow.submit import RunStatus

POLL_SECONDS = 5.0

log = logging.getLogger(__name__)


@unbundled
def submit(
    server: Server,
    chosen: Chosen,
    given: Given,
    experiment: Experiment = "cascade-clip",
    name: Annotated[str | None, typer.Option(help="Name of the run; pipeline and time if none.")] = None,
    wait: Annotated[bool, typer.Option(help="Follow it to its end; exit 3 unless it succeeds.")] = False,
) -> None:
    """Start a run on a cluster, print its id.

    Parameters are checked before the cluster is contacted.
    """
    from pipelines.kubeflow import submit

    with chosen.file() as path:
        values = given.checked(path, chosen)
        cluster = server.connect()
        run = submit.submit(cluster, path, parameters=values, experiment=experiment, name=name)
    print(run.run_id)
    print(run.link, file=sys.stderr)
    if wait:
        _finish(_followed(cluster, run.run_id))


@unbundled
def status(
    server: Server,
    run_id: Annotated[str, typer.Argument(help="Id of the run, as submit prints it.")],
    wait: Annotated[bool, typer.Option(help="Follow it to its end.")] = False,
) -> None:
    """Tell how a run and its steps stand.

    Exit 3 if it failed or was cancelled.
    """
    from pipelines.kubeflow import submit

    cluster = server.connect()
    run = _followed(cluster, run_id) if wait else submit.status(cluster, run_id)
    for step in run.steps.values():
        print(f"{step.state:<10} {step.name}{f'  {step.error}' if step.error else ''}")
    print(f"{run.state:<10} {run.name}  {run.link}")
    if run.finished:
        _finish(run)


@unbundled
def upload(
    server: Server,
    chosen: Chosen,
    name: Annotated[str | None, typer.Option(help="Name on the server; the pipeline's own if none.")] = None,
    version: Annotated[str | None, typer.Option(help="Name of the version; the time if none.")] = None,
) -> None:
    """Keep a pipeline on the server by name.

    The first upload makes it, each further one adds a version.
    """
    from pipelines.kubeflow import submit

    with chosen.file() as path:
        done = submit.upload(server.connect(), path, name=name or path.stem, version=version)
    print(f"{done.pipeline_id} {done.version_id}")
    print(done.link, file=sys.stderr)


def _followed(cluster: "Cluster", run_id: str) -> "RunStatus":
    """Tell each change of a run and its steps as it comes, and give the finished run."""
    from pipelines.kubeflow.submit import follow

    told: dict[str, str] = {}
    for run in follow(cluster, run_id, every=POLL_SECONDS):
        for task_id, step in run.steps.items():
            if told.get(task_id) != step.state:
                log.info("%-10s %s%s", step.state, step.name, f": {step.error}" if step.error else "")
                told[task_id] = step.state
    return run


def _finish(run: "RunStatus") -> None:
    error = f": {run.error}" if run.error else ""
    log.info("%-10s %s%s", run.state, run.name, error)
    if not run.succeeded:
        raise typer.Exit(ExitCode.INCOMPLETE)
