"""Every command by group: its name, its function, and a command to paste that ends its help."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cascade_core.datasets.catalogue import DATA_SETS
from cascade_core.datasets.data_set import Release
from components.contract import Step
from components.steps import (
    compare,
    convert,
    evaluate,
    export,
    gate,
    import_clip,
    mini_data,
    prepare,
    prepare_custom,
    prepare_dataset,
    pretrain,
    profile,
    register,
    report,
    self_train,
    splits,
    text_vectors,
    train,
)
from pipelines.cli import (
    benchmark,
    cluster,
    data,
    pipeline,
    predict,
    registry,
    results,
    schedule,
    storage,
    trainjob,
    workflow,
)
from pipelines.cli.from_step import command_of

Command = tuple[str, Callable[..., None], str]


def of_step(stated: Step[Any, Any]) -> Command:
    """Give the command of a step."""
    return stated.command.rpartition(" ")[2], command_of(stated), stated.example


def of_data_set(name: str, release: Release) -> Command:
    """Give the command that prepares a public data set."""
    command = command_of(prepare_dataset.run, help_text=release.help, name=name)
    return name, command, f"cascade-clip prepare {name} {release.example} --out local_outputs/prepared"


@dataclass(frozen=True)
class Group:
    """Commands under one word, such as `pipeline`; the words on the way to it, and what it is about."""

    path: tuple[str, ...]
    help: str
    commands: tuple[Command, ...]


TOP = Group(
    (),
    "",
    (
        ("run", workflow.run, "cascade-clip run"),
        of_step(splits.run),
        of_step(text_vectors.run),
        ("preflight", data.preflight, "cascade-clip preflight --clip data/mini/clip"),
        of_step(train.run),
        of_step(self_train.run),
        of_step(evaluate.run),
        of_step(profile.run),
        of_step(gate.run),
        of_step(register.run),
        ("fetch", storage.fetch, "cascade-clip fetch s3://bucket/data/mini --to local_outputs/mini"),
        ("store", storage.store, "cascade-clip store reports s3://bucket/reports"),
        ("record", registry.record, "cascade-clip record outputs"),
        of_step(report.run),
        of_step(compare.run),
        (
            "predict",
            predict.predict,
            'cascade-clip predict data/mini/VOCdevkit/VOC2012/JPEGImages/test_0000.jpg --labels "zebra, onion, grass, sand"',
        ),
        of_step(export.run),
        ("mini-results", results.mini_results, "cascade-clip mini-results --seeds 0,1,2"),
        of_step(mini_data.run),
        of_step(pretrain.run),
        of_step(import_clip.run),
        of_step(convert.run),
    ),
)

PREPARE = Group(
    ("prepare",),
    "From a raw data set to a checked index of its pictures.",
    (
        of_step(prepare.run),
        of_step(prepare_custom.run),
        *(of_data_set(one.name, one.release) for one in DATA_SETS if one.release is not None),
    ),
)

PIPELINE = Group(
    ("pipeline",),
    "The same workflow as a Kubeflow pipeline.",
    (
        ("compile", pipeline.compile_pipeline, "cascade-clip pipeline compile --out build/zero_shot.yaml"),
        (
            "run-local",
            pipeline.run_local,
            "cascade-clip pipeline run-local --set train.iterations=20 --set self_train.start_iteration=10",
        ),
        (
            "submit",
            cluster.submit,
            "cascade-clip pipeline submit --host http://localhost:8080 -p raw=/data/mini/VOCdevkit/VOC2012 -p clip=/data/mini/clip --wait",
        ),
        (
            "status",
            cluster.status,
            "cascade-clip pipeline status --host http://localhost:8080 8a5c9d0e-1f2b-4c3d-9e8f-7a6b5c4d3e2f",
        ),
        (
            "upload",
            cluster.upload,
            "cascade-clip pipeline upload --host http://localhost:8080 --version 0.1.0",
        ),
        (
            "trainjob",
            trainjob.trainjob,
            "cascade-clip pipeline trainjob --nodes 2 --gpus 4 --volume cascade-data=/data -- train --recipe zegclip_voc12 --clip /data/clip --prepared /data/prepared --splits /data/splits --text /data/text --out /data/train",
        ),
    ),
)

SCHEDULE = Group(
    ("pipeline", "schedule"),
    "Recurring runs on a Kubeflow cluster.",
    (
        (
            "create",
            schedule.create,
            'cascade-clip pipeline schedule create --host http://localhost:8080 --name nightly --cron "0 3 * * *" -p raw=/data/mini/VOCdevkit/VOC2012 -p clip=/data/mini/clip',
        ),
        (
            "list",
            schedule.list_schedules,
            "cascade-clip pipeline schedule list --host http://localhost:8080",
        ),
        *(
            (
                name,
                function,
                f"cascade-clip pipeline schedule {name} --host http://localhost:8080 8a5c9d0e-1f2b-4c3d-9e8f-7a6b5c4d3e2f",
            )
            for name, function in (
                ("pause", schedule.pause),
                ("resume", schedule.resume),
                ("delete", schedule.delete),
            )
        ),
    ),
)

MODELS = Group(
    ("models",),
    "Registered models and their champions.",
    (
        ("list", registry.list_models, "cascade-clip models list"),
        ("show", registry.show, "cascade-clip models show mini-18-6-cascade_clip"),
        ("serve", registry.serve, "cascade-clip models serve mini-18-6-cascade_clip --port 5001"),
        ("promote", registry.promote, "cascade-clip models promote mini-18-6-cascade_clip 2"),
        ("rollback", registry.rollback, "cascade-clip models rollback mini-18-6-cascade_clip"),
    ),
)

BENCHMARK = Group(
    ("benchmark",),
    "Scheduled reruns: is anything worse than it was?",
    (
        ("run", benchmark.run, "cascade-clip benchmark run --recipe mini_zegclip --recipe mini_cascade_clip"),
        ("history", benchmark.history, "cascade-clip benchmark history"),
        ("accept", benchmark.accept, "cascade-clip benchmark accept 0123456789abcdef0123456789abcdef"),
    ),
)

GROUPS = (TOP, PREPARE, PIPELINE, SCHEDULE, MODELS, BENCHMARK)
"""A group stands after the one it is in."""
