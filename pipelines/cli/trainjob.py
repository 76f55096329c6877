"""The command that writes a training on several nodes as a Kubeflow TrainJob and can start it."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from cascade_core.errors import UserError
from cascade_core.runtime.exit_codes import ExitCode
from cascade_core.runtime.option_texts import pairs
from cascade_core.runtime.validation import first_error
from components.cluster import trainjob_run
from components.cluster.trainjob import RUNTIME, TrainJob, Volume, logs_beside, write_trainjob
from components.contract import Step
from components.steps import self_train, train
from pipelines.cli.from_step import arguments_of, command_of

TRAININGS = {step.command: step for step in (train.run, self_train.run)}
WAITING_MINUTES = 24 * 60
"""Time that --wait grants a job to get its nodes, added to the time it may run."""


def trainjob(
    command: Annotated[
        list[str],
        typer.Argument(metavar="-- train|self-train OPTIONS", help="The training command and its options."),
    ],
    nodes: Annotated[int, typer.Option(min=1, help="Number of nodes; each has one pod.")],
    gpus: Annotated[int, typer.Option(min=0, help="GPUs per node, with one process each; 0 trains on CPUs.")],
    volume: Annotated[
        list[str],
        typer.Option(metavar="CLAIM=/FOLDER", help="Volume claim mounted on every node; repeatable."),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="YAML file to write.")] = Path(
        "build/trainjob.yaml"
    ),
    name: Annotated[str, typer.Option(help="Name of the job.")] = "cascade-clip-train",
    namespace: Annotated[str | None, typer.Option(help="Namespace; kubectl's own if left out.")] = None,
    image: Annotated[str | None, typer.Option(help="Container image; the pipelines' if left out.")] = None,
    cpu: Annotated[str, typer.Option(help="Cores of each node.")] = "8",
    memory: Annotated[str, typer.Option(help="Memory of each node.")] = "32Gi",
    secret: Annotated[
        str | None,
        typer.Option(help="Secret with the addresses and keys of object store and tracking server."),
    ] = "cascade-clip",
    runtime: Annotated[str, typer.Option(help="ClusterTrainingRuntime to run on.")] = RUNTIME,
    queue: Annotated[
        str | None, typer.Option(help="Queue of Kueue, which starts all nodes together or none.")
    ] = None,
    gpu_resource: Annotated[str, typer.Option(help="Resource name of a GPU.")] = "nvidia.com/gpu",
    node_label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Label that nodes must have; repeatable.")
    ] = None,
    start: Annotated[
        bool, typer.Option(help="Start the job too, on the cluster of KUBECONFIG or of this pod.")
    ] = False,
    wait: Annotated[
        bool, typer.Option(help="With --start: follow the job; exit 3 unless it completes.")
    ] = False,
) -> None:
    """Write a training on several nodes as a TrainJob.

    For Kubeflow Trainer 2. Start the job with --start or with: kubectl apply --filename FILE
    """
    from pipelines.kubeflow.resources import images

    if wait and not start:
        raise UserError("--wait needs --start; give both")

    training, arguments = _parsed(command)
    try:
        job = TrainJob(
            name=name,
            namespace=namespace,
            image=image or images(None, None)[0],
            command=training.command,
            arguments=tuple(command[1:]),
            out=PurePosixPath(arguments["out"]),
            logs=logs_beside(PurePosixPath(arguments["out"])),
            nodes=nodes,
            gpus=gpus,
            gpu_resource=gpu_resource,
            node_labels=pairs(
                "--node-label",
                node_label or (),
                form="KEY=VALUE",
                example="nvidia.com/gpu.present=true",
                empty=True,
            ),
            cpu=cpu,
            memory=memory,
            volumes=tuple(Volume.parse(text) for text in volume),
            secret=secret,
            runtime=runtime,
            queue=queue,
        )
    except ValidationError as error:
        raise UserError(first_error(error)) from error
    if training is train.run:
        _check_batch(arguments, job.processes)
    write_trainjob(job, out)
    print(out)
    if start:
        _start(job, wait=wait)


def _start(job: TrainJob, *, wait: bool) -> None:
    jobs = trainjob_run.connect(job.namespace)
    trainjob_run.start(jobs, job)
    if not wait:
        return
    try:
        trainjob_run.follow(jobs, job.name, minutes=job.minutes + WAITING_MINUTES)
    except RuntimeError as error:
        print(f"{error}; the output of its processes is in {job.logs} on the volume", file=sys.stderr)
        raise typer.Exit(ExitCode.INCOMPLETE) from error


def _parsed(command: Sequence[str]) -> tuple[Step[Any, Any], dict[str, Any]]:
    """Parse the training's options as its own command does, so that a mistake shows here and not in a pod."""
    name, *words = command
    if name not in TRAININGS:
        commands = ", ".join(TRAININGS)
        raise UserError(f"a TrainJob cannot run {name!r}; put one of {commands} after --")
    step = TRAININGS[name]
    reader = typer.Typer(add_completion=False)
    reader.command(name)(command_of(step))
    options = typer.main.get_command(reader).make_context(name, list(words)).params
    return step, arguments_of(step, options)


def _check_batch(arguments: Mapping[str, Any], processes: int) -> None:
    """Refuse a batch that the processes cannot share; the batch of a self-training is known only in its pod."""
    from cascade_core.configs.recipes import recipe
    from cascade_core.parallel import World

    config = recipe(arguments["recipe"], arguments["overrides"], seed=arguments["seed"]).train
    World(size=processes).share(config.batch_size, config.accumulation_steps)
