"""Resources that a step's pod requests from the cluster, and the usual sizes, with and without GPU."""

from dataclasses import field, replace
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from components.cluster.names import GPU, GPU_LABELS
from components.cluster.trainjob import RUNTIME, Cores, KubernetesName, Memory

Tracking = Literal["secret", "plugin"]
Count = Annotated[int, Field(gt=0)]
CHECKED = ConfigDict(extra="forbid", coerce_numbers_to_str=True)


@dataclass(frozen=True, config=CHECKED)
class Gpu:
    """GPUs of one step: their number, the resource, and the labels of nodes that have it."""

    count: Count
    resource: Annotated[str, Field(min_length=1)] = GPU
    labels: dict[str, str] = field(default_factory=lambda: dict(GPU_LABELS))


@dataclass(frozen=True, config=CHECKED)
class Resources:
    """The pod of one step; `--resource STEP.FIELD=VALUE` sets its fields.

    With several `nodes`, each node of the step's TrainJob gets all of this, and the step's own pod only waits.

    Attributes:
        cpu: cores in Kubernetes' notation; `memory` and `shared_memory` likewise.
        minutes: time limit of the pod.
        retries: after transient faults, such as a lost node; 0 for steps that check input, since it stays wrong.
        patience: minutes that the step waits for a tracking server or an object store that does not answer.
        on_volume: train in a folder on the volume, where a later pod resumes, and keep finished trainings there.
        data: mount the volume with the data; `secret` sets the secret's variables.
        tracking: the tracking server is that of the secret, or that of Kubeflow's MLflow plugin.
        runtime: with several `nodes`, the ClusterTrainingRuntime that they run on.
        queue: the queue of Kueue that starts the pod, or with several `nodes` the TrainJob.
        parallelism: how many pods of the step a loop runs at a time; None for no limit.
        tag_image: tag the step's runs in MLflow with its image.
        image: steps that run a model need `torch`; `light` is smaller and pulled sooner.
    """

    cpu: Cores
    memory: Memory
    minutes: Count
    gpu: Gpu | None = None
    shared_memory: Memory | None = None
    retries: Annotated[int, Field(ge=0)] = 0
    patience: Annotated[int, Field(ge=0)] = 5
    on_volume: bool = False
    data: bool = True
    secret: bool = True
    tracking: Tracking = "secret"
    nodes: Count = 1
    runtime: KubernetesName = RUNTIME
    queue: KubernetesName | None = None
    parallelism: Count | None = None
    tag_image: bool = True
    image: Literal["torch", "light"] = "torch"

    def with_retries(self, retries: int) -> "Resources":
        """Return the same resources with this number of retries."""
        return replace(self, retries=retries)


SMALL = Resources(cpu="1", memory="2Gi", minutes=30)
MINI = Resources(cpu="2", memory="4Gi", minutes=120, shared_memory="1Gi")
LARGE = Resources(cpu="8", memory="32Gi", minutes=240, gpu=Gpu(1), shared_memory="8Gi")
SERVERS_ONLY = replace(SMALL, data=False, image="light")
ISOLATED = replace(SERVERS_ONLY, secret=False)


def by_kind(cpu: Resources, gpu: Resources | None = None) -> dict[str, Resources]:
    """Map each kind of cluster to a step's resources; without `gpu` both get the same."""
    return {"cpu": cpu, "gpu": gpu or cpu}
