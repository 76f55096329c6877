"""The resources table: what each step requests from a cluster without GPUs (`cpu`) or with them (`gpu`).

A step's statement holds its row; the rows of all other components are here. The cluster has three things of agreed
names: a volume claim with the data, a secret with the addresses and keys of the object store and the tracking server,
and, for kind `gpu`, nodes labelled by NVIDIA's operator.
"""

from dataclasses import replace

from kfp import dsl, kubernetes

from cascade_core.runtime.listing import by_name
from components.bodies.interface import cluster_of, stated_steps
from components.cluster.names import DATA_CLAIM, DATA_FOLDER, GPU, OPTIONAL_KEYS, REQUIRED_KEYS, SECRET
from components.cluster.pods import MINI, NO_DATA, TALK, Gpu, Resources, by_kind
from components.cluster.trainjob import Nodes, Volume
from components.ops import IMAGE, LIGHT_IMAGE
from components.patience import PATIENCE_VARIABLE
from components.steps import evaluate
from components.tracking.pipeline_run import IMAGE_VARIABLE

BACKOFF, LONGEST_BACKOFF = "30s", "600s"

IMAGES = {"torch": IMAGE, "light": LIGHT_IMAGE}
TALKING = {
    # No patience: the first step has no work to lose, so it reports a wrong address at once.
    "open_run": replace(TALK, retries=4, patience=0),
    "close_run": replace(TALK, retries=4),
    "compare_with_accepted": replace(TALK, retries=2),
    "compare_champions_with_accepted": replace(TALK, retries=2),
    "compare_targets": replace(TALK, retries=2),
    "find_champions": TALK,
    "take_champion": replace(TALK, retries=2),
    "report": replace(TALK, retries=2),
    "ablation_report": replace(TALK, retries=2),
    "refuse_regression": NO_DATA,
    "target_items": NO_DATA,
    "grid": NO_DATA,
}
"""Rows of the steps that use the tracking server only, or no server: the same for every kind of cluster."""

PREPARING = by_kind(cpu=MINI, gpu=Resources(cpu="8", memory="16Gi", minutes=360))
BY_KIND = {
    **{step: by_kind(row) for step, row in TALKING.items()},
    "prepare": PREPARING,
    "prepare_target": PREPARING,
    "evaluate_target": cluster_of(evaluate.run).pods,
    **{step.name: cluster_of(step).pods for step in stated_steps()},
}
RESOURCES: dict[str, dict[str, Resources]] = {
    kind: {step: pods[kind] for step, pods in BY_KIND.items()} for kind in ("cpu", "gpu")
}
"""The rows by kind of cluster and step: "cpu" is enough for the mini benchmark, "gpu" is for ViT-B/16."""


def resources(kind: str) -> dict[str, Resources]:
    """Return the table of a kind of cluster.

    Raises:
        UserError: there is no such kind.
    """
    return by_name(kind, RESOURCES, kind="resources")


def local_resources() -> dict[str, Resources]:
    """Return the table for this machine: no images, no retries and no waiting, since local failures are not transient."""
    rows = RESOURCES["cpu"].items()
    return {step: replace(row, retries=0, patience=0, told_image=False) for step, row in rows}


WAITING_MINUTES = 45
"""The time limit of a pod that waits for a TrainJob exceeds the job's by this: nodes must come free, folders be copied."""
TRAINING_STEPS = tuple(step.name for step in stated_steps() if cluster_of(step).trains)
"""The steps that can run on several nodes: they take the parameter `nodes`."""


def waiting(row: Resources) -> Resources:
    """Return the row of a pod that waits for a TrainJob with these resources."""
    minutes = row.minutes + WAITING_MINUTES
    return replace(
        row, cpu="1", memory="2Gi", minutes=minutes, gpu=None, shared_memory=None, nodes=1, image="light"
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
        minutes=row.minutes,
    )


def with_resources(task: dsl.PipelineTask, row: Resources) -> dsl.PipelineTask:
    """Set a task's resources; requests equal limits, so that a step gets exactly what it requests."""
    task.set_cpu_request(row.cpu).set_cpu_limit(row.cpu)
    task.set_memory_request(row.memory).set_memory_limit(row.memory)
    task.set_caching_options(enable_caching=row.cached)
    kubernetes.set_timeout(task, row.minutes * 60)
    if row.retries:
        task.set_retry(
            row.retries,
            backoff_duration=BACKOFF,
            backoff_factor=2.0,
            backoff_max_duration=LONGEST_BACKOFF,
        )
    if row.gpu:
        _with_gpu(task, row.gpu)
    task.set_container_image(IMAGES[row.image])
    if row.told_image:
        task.set_env_variable(IMAGE_VARIABLE, IMAGES[row.image])
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
        for optional, keys in ((False, REQUIRED_KEYS), (True, OPTIONAL_KEYS)):
            kubernetes.use_secret_as_env(task, SECRET, {key: key for key in keys}, optional=optional)
    return task


def _with_gpu(task: dsl.PipelineTask, gpu: Gpu) -> None:
    task.set_accelerator_type(gpu.resource).set_accelerator_limit(gpu.count)
    for label, value in gpu.labels.items():
        kubernetes.add_node_selector(task, label, value)
    # Nodes with GPUs often have a taint that keeps other pods off.
    kubernetes.add_toleration(task, key=gpu.resource, operator="Exists", effect="NoSchedule")
