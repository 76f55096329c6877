"""The resources table: what each step requests from a cluster without GPUs (`cpu`) or with them (`gpu`).

A step's statement holds its row; the rows of all other components are here. The cluster must have three things
with fixed names: a volume claim with the data, a secret with the addresses and keys of the object store and the
tracking server, and, for kind `gpu`, nodes labelled by NVIDIA's operator.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from typing import Any

import yaml
from kfp import dsl, kubernetes

from cascade_core.errors import UserError
from cascade_core.runtime.cores import CORES_VARIABLE
from cascade_core.runtime.listing import by_name
from cascade_core.runtime.validation import validated
from components.artifacts.manifest import git_commit
from components.bodies.interface import cluster_of, stated_steps
from components.cluster.names import (
    CERTIFICATES,
    DATA_CLAIM,
    DATA_FOLDER,
    GPU,
    OPTIONAL_KEYS,
    REQUIRED_KEYS,
    SECRET,
    TRAININGS_FOLDER,
    VOLUME_VARIABLE,
    variable_of,
)
from components.cluster.pods import ISOLATED, LARGE, MINI, SERVERS_ONLY, Gpu, Resources, by_kind
from components.cluster.trainjob import QUEUE_LABEL, Nodes, Volume
from components.ops.image import DIRTY, IMAGE, LIGHT_IMAGE, image_of_commit
from components.servers.certificates import POD_FOLDER
from components.servers.own_variables import FROM_PLUGIN, SWITCH_VARIABLE, TRACKING
from components.servers.patience import PATIENCE_VARIABLE
from components.steps import evaluate
from components.tracking.pipeline_run import IMAGE_VARIABLE

log = logging.getLogger(__name__)

FIXED = ("image",)
"""No option changes these fields: a step's imports decide its image, and --image and --light-image name the images."""
EVERY = "all"
EXAMPLE = "--resource train.gpu.count=4"

FIRST_PAUSE_SECONDS, PAUSE_FACTOR = 30, 2
QUEUE_SECONDS = 24 * 60 * 60
"""All tries of a step together may wait this long for a node, an image and the volume."""

IMAGES = {"torch": IMAGE, "light": LIGHT_IMAGE}
LIGHT_ROWS = {
    # Little patience: the first step has no work to lose, and a wrong address should be seen soon.
    "open_run": replace(SERVERS_ONLY, retries=4, patience=2),
    "close_run": replace(SERVERS_ONLY, retries=4),
    "compare_with_accepted": replace(SERVERS_ONLY, retries=2),
    "compare_targets": replace(SERVERS_ONLY, retries=2),
    "take_champion": replace(SERVERS_ONLY, retries=2),
    "report": replace(SERVERS_ONLY, retries=2),
    "index_run": replace(ISOLATED, retries=2),
    "index_both": replace(ISOLATED, retries=2),
    "index_champion": replace(ISOLATED, retries=2),
    "refuse_regression": ISOLATED,
    "prune": replace(SERVERS_ONLY, data=True, on_volume=True, retries=2),
    "list_pictures": replace(SERVERS_ONLY, data=True),
    "gather": replace(SERVERS_ONLY, data=True, minutes=120, retries=2),
}
"""Rows of the steps that use the tracking server only, or no server: the same for every kind of cluster."""

PREPARING = by_kind(cpu=MINI, gpu=Resources(cpu="8", memory="16Gi", minutes=360))
# No shared memory: threads decode the pictures. A shard goes on where an earlier try stopped.
PREDICTING = by_kind(
    cpu=replace(MINI, minutes=720, shared_memory=None, retries=2),
    gpu=replace(LARGE, minutes=1440, shared_memory=None, retries=2),
)
LOOPED = ("predict",)
"""The steps whose pods a loop can be limited to a number at a time."""
BY_KIND = {
    **{step: by_kind(row) for step, row in LIGHT_ROWS.items()},
    "prepare": PREPARING,
    "prepare_target": PREPARING,
    "predict": PREDICTING,
    "evaluate_target": cluster_of(evaluate.run).pods,
    **{step.name: cluster_of(step).pods for step in stated_steps()},
}
RESOURCES: dict[str, dict[str, Resources]] = {
    kind: {step: pods[kind] for step, pods in BY_KIND.items()} for kind in ("cpu", "gpu")
}
"""The rows by kind of cluster and step: "cpu" is enough for the mini benchmark, "gpu" is for ViT-B/16."""


def resources(kind: str, changes: Iterable[str] = ()) -> dict[str, Resources]:
    """Return the table of a kind of cluster, changed by items like `train.gpu.count=4`; a later item wins.

    `all.` means every step, `all.gpu.` every step with a GPU. Values are YAML.

    Raises:
        UserError: there is no such kind, an item is not STEP.FIELD=VALUE, its step, field or value is wrong, the step
            has no GPU, a step that does not train gets several nodes, a step without a loop of its own gets a parallelism, or a step with several nodes is to track by
            Kubeflow's plugin.
    """
    rows = dict(by_name(kind, RESOURCES, kind="resources"))
    for item in changes:
        steps, path, value = _parsed(item, rows)
        for step in steps:
            rows[step] = _changed(rows[step], path, value, item)
    for step, row in rows.items():
        if row.nodes > 1 and row.tracking == FROM_PLUGIN:
            raise UserError(
                f"--resource: {step} runs on {row.nodes} nodes, which Kubeflow's MLflow plugin does not know; leave "
                f"tracking=plugin out for {step}, or give it one node"
            )
    return rows


def local_resources() -> dict[str, Resources]:
    """Return the table for this machine: no images, no volume, no retries and no waiting, since local failures are not transient."""
    rows = RESOURCES["cpu"].items()
    return {step: replace(row, retries=0, patience=0, tag_image=False, on_volume=False) for step, row in rows}


WAITING_MINUTES = 45
"""A pod that waits for a TrainJob may run this much longer than the job: it waits for nodes, and copies folders."""
TRAINING_STEPS = tuple(step.name for step in stated_steps() if cluster_of(step).trains)
"""The steps that can run on several nodes: they take the parameter `nodes`."""


def waiting(row: Resources) -> Resources:
    """Return the row of a pod that waits for a TrainJob with these resources."""
    minutes = row.minutes + WAITING_MINUTES
    return replace(
        row,
        cpu="100m",
        memory="512Mi",
        minutes=minutes,
        gpu=None,
        shared_memory=None,
        nodes=1,
        queue=None,  # the job's pods have it
        image="light",
    )


def nodes_of(row: Resources) -> Nodes:
    """Return the nodes of the TrainJob that a row with several nodes requests."""
    gpu = row.gpu
    return Nodes(
        image=IMAGES[row.image],
        nodes=row.nodes,
        gpus=gpu.count if gpu else 0,
        gpu_resource=gpu.resource if gpu else GPU,
        node_labels=dict(gpu.labels) if gpu else {},
        cpu=row.cpu,
        memory=row.memory,
        shared_memory=row.shared_memory or "64Mi",
        volumes=(Volume.parse(f"{DATA_CLAIM}={DATA_FOLDER}"),),
        secret=SECRET,
        runtime=row.runtime,
        queue=row.queue,
        minutes=row.minutes,
    )


def names_registry(image: str) -> bool:
    """Say whether an image's name starts with a registry's host: a first part with a dot or a port, or localhost."""
    host, slash, _ = image.partition("/")
    return bool(slash) and ("." in host or ":" in host or host == "localhost")


def images(image: str | None, light_image: str | None) -> tuple[str, str]:
    """Return the images of the steps that compute with a model and of all others; by default, those of this commit.

    The light image's name follows from an image with a tag: "-light" after the tag, as `make images` names it.

    Raises:
        UserError: the image has no tag, but a digest for example, and `light_image` is missing.
    """
    if image is None:
        image = image_of_commit(git_commit())
        if image.endswith(DIRTY):
            log.warning(
                "image %s: files were changed since the commit, and nodes keep the image that they have pulled under this name; "
                "commit first, or name an image with --image",
                image,
            )
    tagged = ":" in image.rpartition("/")[2] and "@" not in image
    if light_image is None and not tagged:
        raise UserError(
            f"image {image!r} has no tag to name the light image after; name the light image with --light-image (it may "
            "be the same image)"
        )
    return image, light_image or f"{image}-light"


def _parsed(item: str, rows: Mapping[str, Resources]) -> tuple[list[str], list[str], Any]:
    name, equals, text = item.partition("=")
    step, *path = name.split(".")
    if not (equals and step and path and all(path)):
        raise UserError(f"--resource {item!r} is not STEP.FIELD=VALUE; an example is {EXAMPLE}")
    if step != EVERY and step not in rows:
        raise UserError(f"--resource {item!r}: no step {step!r}; there are {EVERY}, {', '.join(rows)}")
    needs_gpu = path[0] == "gpu" and len(path) > 1
    steps = [name for name, row in rows.items() if step in (name, EVERY) and (row.gpu or not needs_gpu)]
    if not steps:
        raise UserError(f"--resource {item!r}: {step} has no GPU; take --kind gpu, or another step")
    if path == ["nodes"] and not set(steps) <= set(TRAINING_STEPS):
        raise UserError(
            f"--resource {item!r}: several nodes are for the steps {' and '.join(TRAINING_STEPS)} only"
        )
    if path == ["parallelism"] and not set(steps) <= set(LOOPED):
        raise UserError(f"--resource {item!r}: a parallelism is for the step {' and '.join(LOOPED)} only")
    try:
        return steps, path, yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--resource {item!r}: {text!r} is not a YAML value") from error


def _changed(row: Resources, path: list[str], value: Any, item: str) -> Resources:
    values = asdict(row)
    match path:
        case ["gpu", *names] if names:
            allowed, place = [field.name for field in fields(Gpu)], values["gpu"]
        case names:
            allowed, place = [field.name for field in fields(Resources) if field.name not in FIXED], values
    if len(names) != 1 or names[0] not in allowed:
        raise UserError(f"--resource {item!r}: no field {'.'.join(path)!r}; there are {', '.join(allowed)}")
    place[names[0]] = value
    return validated(Resources, values, source=f"--resource {item!r}")


def cores_of(row: Resources) -> int:
    """Return the whole cores of a row, at least 1: as many threads are of use."""
    amount = row.cpu
    cores = float(amount.removesuffix("m")) / 1000 if amount.endswith("m") else float(amount)
    return max(1, int(cores))


def retry_span(row: Resources) -> int:
    """Return the seconds from the start of the first try to the latest end of the last one.

    Kubeflow passes `backoff_max_duration` on as Argo's `maxDuration`, which is no longest pause: it counts from the start
    of the first try, and what still runs at its end is killed. Each try has its own deadline, so a long span does no harm.
    """
    pauses = sum(FIRST_PAUSE_SECONDS * PAUSE_FACTOR**number for number in range(row.retries))
    return (row.retries + 1) * 60 * row.minutes + pauses + QUEUE_SECONDS


def with_resources(task: dsl.PipelineTask, row: Resources) -> dsl.PipelineTask:
    """Set a task's resources; requests equal limits, so that a step gets exactly what it requests."""
    task.set_cpu_request(row.cpu).set_cpu_limit(row.cpu)
    task.set_memory_request(row.memory).set_memory_limit(row.memory)
    # No step takes an equal run's outputs from Kubeflow's cache: its key holds the ids of input artifacts.
    task.set_caching_options(enable_caching=False)
    kubernetes.set_timeout(task, row.minutes * 60)
    if row.retries:
        task.set_retry(
            row.retries,
            backoff_duration=f"{FIRST_PAUSE_SECONDS}s",
            backoff_factor=float(PAUSE_FACTOR),
            backoff_max_duration=f"{retry_span(row)}s",
        )
    if row.gpu:
        _with_gpu(task, row.gpu)
    if row.queue:
        kubernetes.add_pod_label(task, QUEUE_LABEL, row.queue)
    task.set_container_image(IMAGES[row.image])
    if row.tag_image:
        task.set_env_variable(IMAGE_VARIABLE, IMAGES[row.image])
    task.set_env_variable(CORES_VARIABLE, str(cores_of(row)))
    if row.on_volume:
        task.set_env_variable(VOLUME_VARIABLE, TRAININGS_FOLDER)
    if row.secret and row.patience:
        task.set_env_variable(PATIENCE_VARIABLE, str(60 * row.patience))
    if row.shared_memory:
        # Data loaders pass pictures through /dev/shm, which has 64 MiB in a pod by default.
        kubernetes.empty_dir_mount(
            task, "shared-memory", "/dev/shm", medium="Memory", size_limit=row.shared_memory
        )
    if row.data:
        kubernetes.mount_pvc(task, DATA_CLAIM, DATA_FOLDER)
    if row.secret:
        _with_secret(task, row)
    return task


def _with_secret(task: dsl.PipelineTask, row: Resources) -> None:
    """Set the secret's variables, without those of the tracking server if Kubeflow's plugin has one; mount certificates."""
    required, optional = REQUIRED_KEYS, OPTIONAL_KEYS
    if row.tracking == FROM_PLUGIN:
        task.set_env_variable(SWITCH_VARIABLE, FROM_PLUGIN)
        required, optional = (), tuple(key for key in OPTIONAL_KEYS if key not in TRACKING)
    kubernetes.use_config_map_as_volume(task, CERTIFICATES, POD_FOLDER, optional=True)
    for keys, is_optional in ((required, False), (optional, True)):
        if keys:
            variables = {key: variable_of(key) for key in keys}
            kubernetes.use_secret_as_env(task, SECRET, variables, optional=is_optional)


def _with_gpu(task: dsl.PipelineTask, gpu: Gpu) -> None:
    task.set_accelerator_type(gpu.resource).set_accelerator_limit(gpu.count)
    for label, value in gpu.labels.items():
        kubernetes.add_node_selector(task, label, value)
    # Nodes with GPUs often have a taint that keeps other pods off.
    kubernetes.add_toleration(task, key=gpu.resource, operator="Exists", effect="NoSchedule")
