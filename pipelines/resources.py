"""What each step asks of a cluster: one table for processors alone, one with a GPU where it helps.

The cluster brings three things of agreed names: a volume claim with the data, a secret with the addresses and
keys of the object store and the tracking server, and, for kind `gpu`, nodes labelled by NVIDIA's operator.
"""

from dataclasses import dataclass, replace

from kfp import dsl, kubernetes

DATA_CLAIM, DATA_FOLDER = "cascade-data", "/data"
"""Volume claim that holds data sets and CLIP weights, and where steps find it."""

SECRET = "cascade-clip"
REQUIRED_KEYS = ("MLFLOW_TRACKING_URI",)
OPTIONAL_KEYS = (
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
)
"""Keys of the secret become variables of the same names. Without a tracking server runs would be lost with the pod."""

BACKOFF, LONGEST_BACKOFF = "30s", "600s"


@dataclass(frozen=True)
class Gpu:
    """GPUs of one step: how many of which resource, on nodes with which labels."""

    count: int
    resource: str = "nvidia.com/gpu"
    labels: tuple[tuple[str, str], ...] = (("nvidia.com/gpu.present", "true"),)


@dataclass(frozen=True)
class Resources:
    """One step's pod: cores and memory as Kubernetes writes them, time limit, and what it has mounted.

    `retries` is for steps that a passing fault can break: a node that goes away, a store that does. `cached`
    is for steps whose parameters name all that decides their outcome.
    """

    cpu: str
    memory: str
    minutes: int
    gpu: Gpu | None = None
    shared_memory: str | None = None
    retries: int = 0
    cached: bool = False
    data: bool = True
    secret: bool = True


SMALL = Resources(cpu="1", memory="2Gi", minutes=30)
MINI = Resources(cpu="2", memory="4Gi", minutes=120, shared_memory="1Gi")
LARGE = Resources(cpu="8", memory="32Gi", minutes=240, gpu=Gpu(1), shared_memory="8Gi")
TALK = replace(SMALL, data=False)
NO_DATA = replace(SMALL, data=False, secret=False)

TRACKING = {
    "open_run": replace(TALK, retries=4),
    "close_run": replace(TALK, retries=4),
    "gate": replace(TALK, retries=2),
    "compare_with_accepted": replace(TALK, retries=2),
    "compare_champions_with_accepted": replace(TALK, retries=2),
    "find_champions": replace(TALK, retries=2),
    "take_champion": replace(TALK, retries=2),
    "refuse_regression": NO_DATA,
    "told": NO_DATA,
}
"""Steps that only talk to the tracking server, or to nobody: alike in every cluster."""

RESOURCES: dict[str, dict[str, Resources]] = {
    "cpu": {
        **TRACKING,
        "prepare": replace(MINI, retries=2),
        "train": replace(MINI, retries=1, cached=True),
        "self_train": replace(MINI, retries=1),
        "evaluate": replace(MINI, retries=1),
        "profile": MINI,
        "register": replace(SMALL, retries=2),
        "report": NO_DATA,
        "grid": NO_DATA,
        "ablation_report": NO_DATA,
        "prepare_target": replace(MINI, retries=2),
        "evaluate_target": replace(MINI, retries=1),
        "compare_targets": NO_DATA,
    },
    "gpu": {
        **TRACKING,
        "prepare": Resources(cpu="8", memory="16Gi", minutes=360, retries=2),
        "train": replace(LARGE, minutes=2880, retries=1, cached=True),
        "self_train": replace(LARGE, minutes=1440, retries=1),
        "evaluate": replace(LARGE, retries=1),
        "profile": LARGE,
        "register": Resources(cpu="1", memory="8Gi", minutes=30, retries=2),
        "report": NO_DATA,
        "grid": NO_DATA,
        "ablation_report": NO_DATA,
        "prepare_target": Resources(cpu="8", memory="16Gi", minutes=360, retries=2),
        "evaluate_target": replace(LARGE, retries=1),
        "compare_targets": NO_DATA,
    },
}
"""By kind of cluster and step: "cpu" is enough for the mini benchmark, "gpu" is for ViT-B/16."""


def resources(kind: str) -> dict[str, Resources]:
    """Give the table of a kind of cluster.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in RESOURCES:
        raise ValueError(f"unknown resources {kind!r}; known are {', '.join(RESOURCES)}")
    return RESOURCES[kind]


def local_resources() -> dict[str, Resources]:
    """Give the table for this machine, where a step that fails is not run again: nothing passes here."""
    return {step: replace(wanted, retries=0) for step, wanted in RESOURCES["cpu"].items()}


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
    for label, value in gpu.labels:
        kubernetes.add_node_selector(task, label, value)
    # Nodes with GPUs are often tainted, to keep other pods off.
    kubernetes.add_toleration(task, key=gpu.resource, operator="Exists", effect="NoSchedule")
