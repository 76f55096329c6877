"""Every command by group: its name, its function, and the example that ends its help."""

from collections.abc import Callable
from dataclasses import dataclass

from cascade_core.datasets.catalogue import DATA_SETS
from cascade_core.datasets.data_set import Release
from components.contract import step_named
from components.steps import prepare_dataset
from pipelines.cli import (
    benchmark,
    configurations,
    demo,
    doctor,
    pipeline,
    predict,
    project,
    prune,
    registry,
    reproduce,
    schedule,
    trainjob,
    workstation,
)
from pipelines.cli.from_step import command_of

Command = tuple[str, Callable[..., None], str]


def of_step(name: str) -> Command:
    """Return the command of the step that `components/steps/NAME.py` states."""
    step = step_named(name)
    return step.command.rpartition(" ")[2], command_of(step), step.example


def of_data_set(name: str, release: Release) -> Command:
    """Return the command that prepares a public data set."""
    command = command_of(prepare_dataset.run, help_text=release.help, name=name)
    return name, command, f"cascade-clip prepare {name} {release.example} --out local_outputs/prepared"


@dataclass(frozen=True)
class Group:
    """Commands under one word, such as `pipeline`: the words that lead to it, its help, and its commands."""

    path: tuple[str, ...]
    help: str
    commands: tuple[Command, ...]


TOP = Group(
    (),
    "",
    (
        ("run", workstation.run, "cascade-clip run"),
        (
            "fit",
            project.fit,
            "cascade-clip fit pets --labels pets.yaml --clip ViT-B-16 --methods zegclip,cascade_clip",
        ),
        (
            "init",
            project.init,
            "cascade-clip init pets --labels pets.yaml --clip ViT-B-16 --hold-out val=0.2",
        ),
        ("doctor", doctor.doctor, "cascade-clip doctor"),
        ("recipes", configurations.recipes, "cascade-clip recipes zegclip_voc12 --set train.iterations=5000"),
        ("protocols", configurations.protocols, "cascade-clip protocols voc12-15-5"),
        of_step("splits"),
        of_step("text_vectors"),
        ("preflight", workstation.preflight, "cascade-clip preflight --clip data/mini/clip"),
        of_step("train"),
        of_step("self_train"),
        of_step("evaluate"),
        of_step("fit_thresholds"),
        of_step("profile"),
        of_step("gate"),
        of_step("register"),
        ("fetch", workstation.fetch, "cascade-clip fetch s3://bucket/data/mini --to local_outputs/mini"),
        ("store", workstation.store, "cascade-clip store reports s3://bucket/reports"),
        ("record", registry.record, "cascade-clip record outputs"),
        ("relocate", registry.relocate, "cascade-clip relocate"),
        ("prune", prune.prune, "cascade-clip prune --keep 5 --older-than 7"),
        of_step("report"),
        of_step("compare"),
        (
            "predict",
            predict.predict,
            'cascade-clip predict data/mini/VOCdevkit/VOC2012/JPEGImages/test_0000.jpg --labels "zebra, onion, grass, sand"',
        ),
        (
            "demo",
            demo.demo,
            "cascade-clip demo --model mini",
        ),
        of_step("export"),
        (
            "reproduce",
            reproduce.reproduce,
            "cascade-clip reproduce voc12 --method cascade_clip --seeds 0,1,2",
        ),
        ("mini-results", workstation.mini_results, "cascade-clip mini-results --seeds 0,1,2"),
        (
            "scene-picture",
            workstation.scene_picture,
            "cascade-clip scene-picture --picture test_0001 --out local_outputs/scene.png",
        ),
        of_step("mini_data"),
        of_step("pretrain"),
        of_step("import_clip"),
        of_step("convert"),
    ),
)

PREPARE = Group(
    ("prepare",),
    "Check a raw data set and index its pictures.",
    (
        of_step("prepare"),
        of_step("prepare_custom"),
        *(
            of_data_set(data_set.name, data_set.release)
            for data_set in DATA_SETS
            if data_set.release is not None
        ),
    ),
)

PIPELINE = Group(
    ("pipeline",),
    "The workflow as Kubeflow pipelines.",
    (
        ("compile", pipeline.compile_pipeline, "cascade-clip pipeline compile --out build/zero_shot.yaml"),
        (
            "run-local",
            pipeline.run_local,
            "cascade-clip pipeline run-local --set train.iterations=20 --set self_train.start_iteration=10",
        ),
        (
            "submit",
            pipeline.submit,
            "cascade-clip pipeline submit --host http://localhost:8080 -p raw=/data/mini/VOCdevkit/VOC2012 -p clip=/data/mini/clip --wait",
        ),
        (
            "status",
            pipeline.status,
            "cascade-clip pipeline status --host http://localhost:8080 8a5c9d0e-1f2b-4c3d-9e8f-7a6b5c4d3e2f",
        ),
        (
            "verify",
            pipeline.verify,
            "cascade-clip pipeline verify --host http://localhost:8080 --image registry.example/cascade-clip:1",
        ),
        (
            "upload",
            pipeline.upload,
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
        (
            "manifest",
            registry.manifest,
            "cascade-clip models manifest mini-18-6-cascade_clip --image registry.example/cascade-clip:1",
        ),
        ("promote", registry.promote, "cascade-clip models promote mini-18-6-cascade_clip 2"),
        ("rollback", registry.rollback, "cascade-clip models rollback mini-18-6-cascade_clip"),
    ),
)

BENCHMARK = Group(
    ("benchmark",),
    "Rerun trainings or champions, and compare with accepted scores.",
    (
        ("run", benchmark.run, "cascade-clip benchmark run --recipe mini_zegclip --recipe mini_cascade_clip"),
        ("history", benchmark.history, "cascade-clip benchmark history"),
        ("accept", benchmark.accept, "cascade-clip benchmark accept 0123456789abcdef0123456789abcdef"),
    ),
)

GROUPS = (TOP, PREPARE, PIPELINE, SCHEDULE, MODELS, BENCHMARK)
"""All groups; each stands after the group that contains it."""
