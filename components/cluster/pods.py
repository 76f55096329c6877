"""What a pod asks of a cluster, and the few sizes that steps ask for: for processors alone, and with a GPU where it helps."""

from dataclasses import field, replace
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from components.cluster.names import GPU, GPU_LABELS
from components.cluster.trainjob import Cores, Memory

Count = Annotated[int, Field(gt=0)]
CHECKED = ConfigDict(extra="forbid", coerce_numbers_to_str=True)


@dataclass(frozen=True, config=CHECKED)
class Gpu:
    """GPUs of one step: how many of which resource, on nodes with which labels."""

    count: Count
    resource: Annotated[str, Field(min_length=1)] = GPU
    labels: dict[str, str] = field(default_factory=lambda: dict(GPU_LABELS))


@dataclass(frozen=True, config=CHECKED)
class Resources:
    """One step's pod: cores and memory as Kubernetes writes them, time limit, and what it has mounted.

    `retries` is for faults that pass, such as a node that goes away, and for steps whose input was checked before
    them: the ones that check it (`prepare`, `find_champions`) are run once, since wrong input stays wrong. `patience` is how many
    minutes the step itself waits for a tracking server or an object store that is away. `cached`
    is for steps whose parameters name all that decides their outcome. Steps that compute with a model need the
    image with torch, on processors and GPUs alike; for all others the `light` one is pulled sooner. With several
    `nodes`, all of this is what each node of the step's TrainJob gets, and the step's own pod only waits for it.
    Runs in MLflow are tagged with the image that the step is told it runs in (`told_image`).
    """

    cpu: Cores
    memory: Memory
    minutes: Count
    gpu: Gpu | None = None
    shared_memory: Memory | None = None
    retries: Annotated[int, Field(ge=0)] = 0
    patience: Annotated[int, Field(ge=0)] = 5
    cached: bool = False
    data: bool = True
    secret: bool = True
    nodes: Count = 1
    told_image: bool = True
    image: Literal["torch", "light"] = "torch"

    def with_retries(self, retries: int) -> "Resources":
        """Give the same with so many retries."""
        return replace(self, retries=retries)


SMALL = Resources(cpu="1", memory="2Gi", minutes=30)
MINI = Resources(cpu="2", memory="4Gi", minutes=120, shared_memory="1Gi")
LARGE = Resources(cpu="8", memory="32Gi", minutes=240, gpu=Gpu(1), shared_memory="8Gi")
TALK = replace(SMALL, data=False, image="light")
NO_DATA = replace(TALK, secret=False)


def by_kind(cpu: Resources, gpu: Resources | None = None) -> dict[str, Resources]:
    """Give what a step asks of each kind of cluster; the same of both where one is given."""
    return {"cpu": cpu, "gpu": gpu or cpu}
