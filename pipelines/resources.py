"""What each step asks of a cluster: one table for processors alone, one with a GPU where it helps."""

from dataclasses import dataclass

from kfp import dsl

GPU = "nvidia.com/gpu"


@dataclass(frozen=True)
class Resources:
    """Limits of one step's pod: cores, memory as Kubernetes writes it, and GPUs."""

    cpu: str
    memory: str
    gpus: int = 0


SMALL = Resources(cpu="1", memory="2Gi")
MINI = Resources(cpu="2", memory="4Gi")
LARGE = Resources(cpu="8", memory="32Gi", gpus=1)

RESOURCES: dict[str, dict[str, Resources]] = {
    "cpu": {
        "prepare": MINI,
        "train": MINI,
        "self_train": MINI,
        "evaluate": MINI,
        "profile": MINI,
        "register": SMALL,
        "report": SMALL,
    },
    "gpu": {
        "prepare": Resources(cpu="8", memory="16Gi"),
        "train": LARGE,
        "self_train": LARGE,
        "evaluate": LARGE,
        "profile": LARGE,
        "register": Resources(cpu="1", memory="8Gi"),
        "report": SMALL,
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


def with_resources(task: dsl.PipelineTask, wanted: Resources) -> dsl.PipelineTask:
    """Give a task its requests and limits, which are the same: what a step is promised is what it gets."""
    task.set_cpu_request(wanted.cpu).set_cpu_limit(wanted.cpu)
    task.set_memory_request(wanted.memory).set_memory_limit(wanted.memory)
    if wanted.gpus:
        task.set_accelerator_type(GPU).set_accelerator_limit(wanted.gpus)
    return task
