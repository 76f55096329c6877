"""Commands about Kubeflow pipelines: compile one, run it on this machine or on a cluster, show a run, upload one."""

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from cascade_core.runtime.exit_codes import ExitCode
from components.cluster.names import DATA_FOLDER
from components.cluster.pods import Tracking
from pipelines.cli.kubeflow_options import (
    ALONE,
    Description,
    Experiment,
    PackageChoice,
    PipelineChoice,
    PipelineName,
    RunParameters,
    Server,
    flat_options,
)
from pipelines.cli.printing import Json, print_json
from pipelines.cli.run_lines import RunNotes, run_lines, run_record, show_run
from pipelines.workstation import workflow

if TYPE_CHECKING:
    from pipelines.kubeflow.cluster import Connection
    from pipelines.kubeflow.submit import RunStatus

MINI_BENCHMARK = {"raw": "data/mini/VOCdevkit/VOC2012", "clip": "data/mini/clip"}
POLL_SECONDS = 5.0

log = logging.getLogger(__name__)


@flat_options
def compile_pipeline(
    choice: PipelineChoice,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML file to write; build/PIPELINE.yaml if none.")
    ] = None,
) -> None:
    """Write a pipeline as YAML for a cluster."""
    out = out or Path("build") / f"{choice.pipeline}.yaml"
    choice.write(out)
    print(out)


@flat_options
def run_local(
    parameters: RunParameters,
    pipeline: Annotated[PipelineName, typer.Option(help="Which pipeline.")] = "zero_shot",
    recipe: Annotated[
        list[str] | None, typer.Option(help="Recipe to train; repeatable; those of the pipeline if none.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder with a subfolder per run.")] = Path(
        "local_outputs/kfp"
    ),
) -> None:
    """Run a pipeline on this machine, each step in a process.

    Needs no container and no cluster, so caching, resources and images have no effect. Data and CLIP are those of
    the project in the working folder, else of the mini benchmark, unless parameters name others.
    """
    from pipelines.kubeflow import local_run

    if recipe:
        recipes = f"recipes={json.dumps(recipe)}"
        parameters = replace(parameters, parameter=[*(parameters.parameter or ()), recipes])
    package = parameters.chosen(PackageChoice(pipeline), in_pods=False)
    defaults = {} if pipeline in ALONE else MINI_BENCHMARK
    with package.file() as path:
        values = parameters.checked(path, package, in_pods=False, defaults=defaults)
    results = local_run.run_local(package.pipeline, values, out=out)
    if pipeline in ("zero_shot", "inductive"):
        workflow.print_results(results)
    elif pipeline == "benchmark":
        print(results / "benchmark.html")
    else:
        print((results / "table.md").read_text(encoding="utf-8"), end="")


@flat_options
def submit(
    server: Server,
    package: PackageChoice,
    parameters: RunParameters,
    experiment: Experiment = "cascade-clip",
    name: Annotated[str | None, typer.Option(help="Name of the run; pipeline and time if none.")] = None,
    description: Description = None,
    wait: Annotated[bool, typer.Option(help="Follow the run to its end; exit 3 unless it succeeds.")] = False,
) -> None:
    """Start a run on a cluster and print its id.

    Parameters are checked before the first request to the cluster.
    """
    from pipelines.kubeflow import submit

    package = parameters.chosen(package)
    with package.file(parameters.splits()) as path:
        values = parameters.checked_for_cluster(path, package)
        cluster = server.connect()
        run = submit.submit(
            cluster, path, parameters=values, experiment=experiment, name=name, description=description
        )
    print(run.run_id)
    print(run.link, file=sys.stderr)
    if wait:
        _finish(_followed(cluster, run.run_id))


@flat_options
def status(
    server: Server,
    run_id: Annotated[str, typer.Argument(help="Id of the run, as submit prints it.")],
    wait: Annotated[bool, typer.Option(help="Follow the run to its end.")] = False,
    as_json: Json = False,
) -> None:
    """Show the state of a run and of its steps.

    Exits with 3 if the run failed or was cancelled.
    """
    from pipelines.kubeflow import submit

    cluster = server.connect()
    if wait and not as_json:
        _finish(_followed(cluster, run_id))
        return
    run = _followed(cluster, run_id) if wait else submit.status(cluster, run_id)
    notes = RunNotes(cluster, run_id)
    notes.update(run)
    if as_json:
        print_json(run_record(run, notes))
    else:
        for line in run_lines(run, notes):
            print(line)
    if run.finished and not run.succeeded:
        raise typer.Exit(ExitCode.INCOMPLETE)


@flat_options
def upload(
    server: Server,
    package: PackageChoice,
    name: Annotated[str | None, typer.Option(help="Name on the server; the pipeline's own if none.")] = None,
    version: Annotated[str | None, typer.Option(help="Name of the version; the time if none.")] = None,
) -> None:
    """Keep a pipeline on the server by name.

    Creates the pipeline if it is new. Later runs and schedules of an equal pipeline show this version.
    """
    from pipelines.kubeflow import uploads
    from pipelines.kubeflow.parameters import declared

    with package.file() as path:
        declared(path)  # refuses what is no pipeline, before the server is asked
        uploaded = uploads.upload(server.connect(), path, name=name or path.stem, version=version)
    print(f"{uploaded.pipeline_id} {uploaded.version_id}")
    print(uploaded.link, file=sys.stderr)


@flat_options
def verify(
    server: Server,
    image: Annotated[
        str | None, typer.Option(help="Image of the steps that need torch; the project's if left out.")
    ] = None,
    light_image: Annotated[
        str | None,
        typer.Option(help="Image of all other steps; --image with -light after its tag if left out."),
    ] = None,
    folder: Annotated[str, typer.Option(help="Where pods mount the volume.")] = DATA_FOLDER,
    minutes: Annotated[float, typer.Option(help="Wait no longer for the runs.", min=0.1)] = 15.0,
    tracking: Annotated[
        Tracking,
        typer.Option(help="Whose tracking server: the secret's, or that of Kubeflow's MLflow plugin."),
    ] = "secret",
) -> None:
    """Check whether a cluster keeps what the docs promise, with small runs that are removed afterwards.

    Prints a table of checks: ok, mend (with what mends it), or not seen. Exits with 3 if anything is to be mended.
    """
    from pipelines.kubeflow.probe_pipelines import compile_probes
    from pipelines.kubeflow.verification import verify as verify_cluster

    with TemporaryDirectory() as scratch:
        packages = compile_probes(Path(scratch), image=image, light_image=light_image, tracking=tracking)
        findings = verify_cluster(
            server.connect(), packages, folder=folder, minutes=minutes, every=POLL_SECONDS
        )
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        print(f"{finding.verdict:<8}  {finding.check:<{width}}  {finding.detail}")
    if any(finding.verdict == "mend" for finding in findings):
        raise typer.Exit(ExitCode.INCOMPLETE)


def _followed(cluster: "Connection", run_id: str) -> "RunStatus":
    """Show the run until it ends, as a live table on a terminal and in log lines elsewhere; return the finished run."""
    from pipelines.kubeflow.submit import follow

    return show_run(cluster, follow(cluster, run_id, every=POLL_SECONDS))


def _finish(run: "RunStatus") -> None:
    log.info("%-10s %s  %s", run.state, run.name, run.link)
    if not run.succeeded:
        raise typer.Exit(ExitCode.INCOMPLETE)
