"""What each step asks of a cluster: one table for processors alone, one with a GPU where it helps.

A step's row is what the step states; the rows here are those of components that are no stated step.
The cluster brings three things of agreed names: a volume claim with the data, a secret with the addresses and
keys of the object store and the tracking server, and, for kind `gpu`, nodes labelled by NVIDIA's operator.
"""

from dataclasses import replace

from kfp import dsl, kubernetes

from cascade_core.runtime.listing import by_name
from components.bodies.interface import cluster_of, stated_steps
from components.cluster.names import (
    DATA_CLAIM,
    DATA_FOLDER,
    GPU,
    OPTIONAL_KEYS,
    REQUIRED_KEYS,
    SECRET,
)
from components.cluster.pods import MINI, NO_DATA, TALK, Gpu, Resources, by_kind
from components.cluster.trainjob import Nodes, Volume
from components.ops import IMAGE, LIGHT_IMAGE
from components.patience import PATIENCE_VARIABLE
from components.steps import evaluate
from components.tracking.pipeline_run import IMAGE_VARIABLE

BACKOFF, LONGEST_BACKOFF = "30s", "600s"

IMAGES = {"torch": IMAGE, "light": LIGHT_IMAGE}
TALKING = {
    # Not patient: the first to talk tells a wrong address, and has no work to lose.
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
    "told": NO_DATA,
    "grid": NO_DATA,
}
"""Steps that only talk to the tracking server, or to nobody: alike in every cluster."""

PREPARING = by_kind(cpu=MINI, gpu=Resources(cpu="8", memory="16Gi", minutes=360))
BY_KIND = {
    **{step: by_kind(wanted) for step, wanted in TALKING.items()},
    "prepare": PREPARING,
    "prepare_target": PREPARING,
    "evaluate_target": cluster_of(evaluate.run).pods,
    **{step.name: cluster_of(step).pods for step in stated_steps()},
}
RESOURCES: dict[str, dict[str, Resources]] = {
    kind: {step: pods[kind] for step, pods in BY_KIND.items()} for kind in ("cpu", "gpu")
}
"""By kind of cluster and step: "cpu" is enough for the mini benchmark, "gpu" is for ViT-B/16."""


def resources(kind: str) -> dict[str, Resources]:
    """Give the table of a kind of cluster.

    Raises:
        UserError: there is no such kind.
    """
    return by_name(kind, RESOURCES, kind="resources")


def local_resources() -> dict[str, Resources]:
    """Give the table for this machine, which has no images, and where nothing is tried again or waited for: nothing passes here."""
    return {
        step: replace(wanted, retries=0, patience=0, told_image=False)
        for step, wanted in RESOURCES["cpu"].items()
    }


WAITING_MINUTES = 45
"""What a pod that waits for a TrainJob gets beyond the job's own limit: nodes to come free, folders to be copied."""
TRAINING_STEPS = tuple(step.name for step in stated_steps() if cluster_of(step).trains)
"""Steps that can outgrow a node: they take the parameter `nodes`."""


def waiting(wanted: Resources) -> Resources:
    """Give the row of a pod that only waits for the TrainJob that has these resources."""
    minutes = wanted.minutes + WAITING_MINUTES
    return replace(
        wanted, cpu="1", memory="2Gi", minutes=minutes, gpu=None, shared_memory=None, nodes=1, image="light"
    )


def nodes_of(wanted: Resources) -> Nodes:
    """Give the nodes of the TrainJob that a row with several of them asks for."""
    gpu = wanted.gpu
    return Nodes(
        image=IMAGES[wanted.image],
        nodes=wanted.nodes,
        gpus=gpu.count if gpu else 0,
        gpu_resource=gpu.resource if gpu else GPU,
        node_labels=dict(gpu.labels) if gpu else {},
        cpu=wanted.cpu,
        memory=wanted.memory,
        shared_memory=wanted.shared_memory or "64Mi",
        volumes=(Volume.parse(f"{DATA_CLAIM}={DATA_FOLDER}"),),
        secret=SECRET,
        minutes=wanted.minutes,
    )


def with_resources(task: dsl.PipelineTask, wanted: Resources) -> dsl.PipelineTask:
    """Give a task its row of the table; requests equal limits: what a step is promised is what it gets."""
    task.set_cpu_request(wanted.cpu).set_cpu_limit(wanted.cpu)
    task.set_memory_request(wanted.memory).set_memory_limit(wanted.memory)
    task.set_caching_options(enable_caching=wanted.cached)
    kubernetes.set_timeout(task, wanted.minutes * 60)
    if wanted.retries:
        task.set_retry(
            wanted.retries,
            backoff_duration=BACKOFF,
            backoff_factor=2.0,
            backoff_max_duration=LONGEST_BACKOFF,
        )
    if wanted.gpu:
        _with_gpu(task, wanted.gpu)
    task.set_container_image(IMAGES[wanted.image])
    if wanted.told_image:
        task.set_env_variable(IMAGE_VARIABLE, IMAGES[wanted.image])
    if wanted.secret and wanted.patience:
        task.set_env_variable(PATIENCE_VARIABLE, str(60 * wanted.patience))
    if wanted.shared_memory:
        # Loaders pass pictures through /dev/shm, of which a pod has 64 MiB unless told otherwise.
        kubernetes.empty_dir_mount(
            task, "shared-memory", "/dev/shm", medium="Memory", size_limit=wanted.shared_memory
        )
    if wanted.data:
        kubernetes.mount_pvc(task, DATA_CLAIM, DATA_FOLDER)
    if wanted.secret:
        for optional, keys in ((False, REQUIRED_KEYS), (True, OPTIONAL_KEYS)):
            kubernetes.use_secret_as_env(task, SECRET, {key: key for key in keys}, optional=optional)
    return task


def _with_gpu(task: dsl.PipelineTask, gpu: Gpu) -> None:
    task.set_accelerator_type(gpu.resource).set_accelerator_limit(gpu.count)
    for label, value in gpu.labels.items():
        kubernetes.add_node_selector(task, label, value)
    # Nodes with GPUs are often tainted, to keep other pods off.
    kubernetes.add_toleration(task, key=gpu.resource, operator="Exists", effect="NoSchedule")
