"""Every command by group: its name, the function behind it, and the example that ends its help.

Functions are named by module, and imported when their command is called: so a command pays for its own imports alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from typing import Any

from cascade_core.datasets.catalogue import DATA_SETS
from cascade_core.datasets.data_set import Release

Function = Callable[..., None]


@dataclass(frozen=True)
class Command:
    """A command; `load` imports its function and returns it with the example."""

    name: str
    load: Callable[[], tuple[Function, str]]

    @cached_property
    def loaded(self) -> tuple[Function, str]:
        return self.load()

    @property
    def function(self) -> Function:
        return self.loaded[0]

    @property
    def example(self) -> str:
        return self.loaded[1]


def of_function(name: str, place: str, example: str) -> Command:
    """Return the command of the function at `place`, such as `registry.promote` for that in `pipelines/cli/registry.py`."""

    def load() -> tuple[Function, str]:
        module, _, function = place.rpartition(".")
        return getattr(import_module(f"pipelines.cli.{module}"), function), example

    return Command(name, load)


def of_step(module: str, name: str | None = None) -> Command:
    """Return the command of the step that `components/steps/MODULE.py` states."""
    return Command(name or module.replace("_", "-"), partial(_step_command, module))


def of_data_set(name: str, release: Release) -> Command:
    """Return the command that prepares a public data set."""
    example = f"cascade-clip prepare {name} {release.example} --out local_outputs/prepared"
    fixed = {"help_text": release.help, "name": name}
    return Command(name, lambda: (_step_command("prepare_dataset", **fixed)[0], example))


def _step_command(module: str, **fixed: Any) -> tuple[Function, str]:
    from components.contract import step_named
    from pipelines.cli.from_step import command_of

    step = step_named(module)
    return command_of(step, **fixed), step.example


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
        of_function("run", "workstation.run", "cascade-clip run"),
        of_function(
            "fit",
            "project.fit",
            "cascade-clip fit pets --labels pets.yaml --clip ViT-B-16 --methods zegclip,cascade_clip",
        ),
        of_function(
            "init",
            "project.init",
            "cascade-clip init pets --labels pets.yaml --clip ViT-B-16 --hold-out val=0.2",
        ),
        of_function("doctor", "doctor.doctor", "cascade-clip doctor"),
        of_function(
            "recipes",
            "configurations.recipes",
            "cascade-clip recipes zegclip_voc12 --set train.iterations=5000",
        ),
        of_function("protocols", "configurations.protocols", "cascade-clip protocols voc12-15-5"),
        of_step("splits"),
        of_step("text_vectors"),
        of_function("preflight", "workstation.preflight", "cascade-clip preflight --clip data/mini/clip"),
        of_step("train"),
        of_step("self_train"),
        of_step("evaluate"),
        of_step("fit_thresholds"),
        of_step("profile"),
        of_step("gate"),
        of_step("register"),
        of_function(
            "fetch", "workstation.fetch", "cascade-clip fetch s3://bucket/data/mini --to local_outputs/mini"
        ),
        of_function("store", "workstation.store", "cascade-clip store reports s3://bucket/reports"),
        of_function("record", "registry.record", "cascade-clip record outputs"),
        of_function("relocate", "registry.relocate", "cascade-clip relocate"),
        of_function("prune", "prune.prune", "cascade-clip prune --keep 5 --older-than 7"),
        of_step("report"),
        of_step("compare"),
        of_function(
            "predict",
            "predict.predict",
            'cascade-clip predict data/mini/VOCdevkit/VOC2012/JPEGImages/test_0000.jpg --labels "zebra, onion, grass, sand"',
        ),
        of_function("demo", "demo.demo", "cascade-clip demo --model mini"),
        of_step("export"),
        of_function(
            "reproduce",
            "reproduce.reproduce",
            "cascade-clip reproduce voc12 --method cascade_clip --seeds 0,1,2",
        ),
        of_function("mini-results", "workstation.mini_results", "cascade-clip mini-results --seeds 0,1,2"),
        of_function(
            "mini-worlds",
            "workstation.mini_worlds",
            "cascade-clip mini-worlds --world data/mini --world local_outputs/world",
        ),
        of_function(
            "ablation", "ablation.ablation", "cascade-clip ablation sigma aggregation --seeds 0,1,2,3,4"
        ),
        of_function(
            "mini-hard-results",
            "workstation.mini_hard_results",
            "cascade-clip mini-hard-results --seeds 0,1,2",
        ),
        of_function(
            "scene-picture",
            "workstation.scene_picture",
            "cascade-clip scene-picture --picture test2_0001 --out local_outputs/scene.png",
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
        of_step("prepare", "index"),
        of_step("prepare_custom", "custom"),
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
        of_function(
            "compile", "pipeline.compile_pipeline", "cascade-clip pipeline compile --out build/zero_shot.yaml"
        ),
        of_function(
            "run-local",
            "pipeline.run_local",
            "cascade-clip pipeline run-local --set train.iterations=20 --set self_train.start_iteration=10",
        ),
        of_function(
            "submit",
            "pipeline.submit",
            "cascade-clip pipeline submit --host http://localhost:8080 -p raw=/data/mini/VOCdevkit/VOC2012 -p clip=/data/mini/clip --wait",
        ),
        of_function(
            "status",
            "pipeline.status",
            "cascade-clip pipeline status --host http://localhost:8080 8a5c9d0e-1f2b-4c3d-9e8f-7a6b5c4d3e2f",
        ),
        of_function(
            "verify",
            "pipeline.verify",
            "cascade-clip pipeline verify --host http://localhost:8080 --image registry.example/cascade-clip:1",
        ),
        of_function(
            "upload",
            "pipeline.upload",
            "cascade-clip pipeline upload --host http://localhost:8080 --version 0.1.0",
        ),
        of_function(
            "trainjob",
            "trainjob.trainjob",
            "cascade-clip pipeline trainjob --nodes 2 --gpus 4 --volume cascade-data=/data -- train --recipe zegclip_voc12 --clip /data/clip --prepared /data/prepared --splits /data/splits --text /data/text --out /data/train",
        ),
    ),
)

SCHEDULE = Group(
    ("pipeline", "schedule"),
    "Recurring runs on a Kubeflow cluster.",
    (
        of_function(
            "create",
            "schedule.create",
            'cascade-clip pipeline schedule create --host http://localhost:8080 --name nightly --cron "0 3 * * *" -p raw=/data/mini/VOCdevkit/VOC2012 -p clip=/data/mini/clip',
        ),
        of_function(
            "list",
            "schedule.list_schedules",
            "cascade-clip pipeline schedule list --host http://localhost:8080",
        ),
        *(
            of_function(
                name,
                f"schedule.{name}",
                f"cascade-clip pipeline schedule {name} --host http://localhost:8080 8a5c9d0e-1f2b-4c3d-9e8f-7a6b5c4d3e2f",
            )
            for name in ("pause", "resume", "delete")
        ),
    ),
)

MODELS = Group(
    ("models",),
    "Registered models and their champions.",
    (
        of_function("list", "registry.list_models", "cascade-clip models list"),
        of_function("show", "registry.show", "cascade-clip models show mini-18-6-cascade_clip"),
        of_function(
            "serve", "registry.serve", "cascade-clip models serve mini-18-6-cascade_clip --port 5001"
        ),
        of_function(
            "manifest",
            "registry.manifest",
            "cascade-clip models manifest mini-18-6-cascade_clip --image registry.example/cascade-clip:1",
        ),
        of_function("promote", "registry.promote", "cascade-clip models promote mini-18-6-cascade_clip 2"),
        of_function("rollback", "registry.rollback", "cascade-clip models rollback mini-18-6-cascade_clip"),
    ),
)

BENCHMARK = Group(
    ("benchmark",),
    "Rerun trainings or champions, and compare with accepted scores.",
    (
        of_function(
            "run",
            "benchmark.run",
            "cascade-clip benchmark run --recipe mini_zegclip --recipe mini_cascade_clip",
        ),
        of_function("history", "benchmark.history", "cascade-clip benchmark history"),
        of_function(
            "accept", "benchmark.accept", "cascade-clip benchmark accept 0123456789abcdef0123456789abcdef"
        ),
    ),
)

GROUPS = (TOP, PREPARE, PIPELINE, SCHEDULE, MODELS, BENCHMARK)
"""All groups; each stands after the group that contains it."""
