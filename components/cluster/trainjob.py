"""A training on several nodes as a `TrainJob` of Kubeflow Trainer (version 2).

Trainer's torch runtime starts a pod per node and sets torchrun's variables (PET_NNODES, PET_MASTER_ADDR, ...).
In each pod torchrun starts `cascade-clip train` or `self-train` once per GPU, as on one machine.
"""

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file
from components.cluster.names import CERTIFICATES, GPU, OPTIONAL_KEYS, REQUIRED_KEYS, variable_of
from components.servers.certificates import POD_FOLDER

GROUP, VERSION, KIND, PLURAL = "trainer.kubeflow.org", "v1alpha1", "TrainJob", "trainjobs"
MANAGER = "cascade-clip-workflow/manager"
CONTENT = "cascade-clip-workflow/content"
"""This annotation holds the hash of a job's specification, which identifies an existing job of the same training."""
PIPELINE_LABEL = "cascade-clip-workflow/pipeline-run"
"""This label holds the id of the pipeline's run in MLflow; its exit handler removes what carries it."""
QUEUE_MINUTES = 30
"""A job's deadline counts from its creation, so it is longer than the training's limit by this time to wait for nodes."""
POD_NAME_LENGTH = 49
"""JobSet appends the job's and the node's number and a suffix to a name, and pods of longer names never start."""
NODE = "node"
"""Trainer's torch runtime gives this name to its replicated job and to the training container in it."""

RUNTIME = "torch-distributed"
"""Trainer's own runtime for torch."""
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""This label names the queue of Kueue that starts all pods of a job together."""

KubernetesName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
Cores = Annotated[str, Field(pattern=r"^\d+(\.\d+)?m?$")]
Memory = Annotated[str, Field(pattern=r"^\d+([KMGT]i?)?$")]


class Volume(BaseModel):
    """A volume claim, and the folder where every node mounts it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: KubernetesName
    folder: PurePosixPath

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `CLAIM=/FOLDER`.

        Raises:
            UserError: the text has another form, or the claim is not a Kubernetes name.
        """
        claim, _, folder = text.partition("=")
        if not (claim and folder.startswith("/")):
            raise UserError(f"volume {text!r} is not CLAIM=/FOLDER; an example is cascade-data=/data")
        return cls(claim=claim, folder=PurePosixPath(folder))


class Nodes(BaseModel):
    """The nodes of a training: each runs a process per GPU, or one process on the CPU if `gpus` is 0."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = Field(min_length=1)
    nodes: int = Field(gt=0)
    gpus: int = Field(ge=0)
    gpu_resource: str = GPU
    node_labels: dict[str, str] = {}
    cpu: Cores = Field(default="8", description="cores per node")
    memory: Memory = Field(default="32Gi", description="per node")
    shared_memory: Memory = Field(default="8Gi", description="for loader workers")
    volumes: tuple[Volume, ...]
    secret: str | None = None
    runtime: KubernetesName = RUNTIME
    queue: KubernetesName | None = None
    minutes: int = Field(default=2880, gt=0)

    @field_validator("volumes")
    @classmethod
    def _check_folders(cls, volumes: tuple[Volume, ...]) -> tuple[Volume, ...]:
        folders = [volume.folder for volume in volumes]
        if len(set(folders)) != len(folders):
            raise UserError(f"two volumes have one folder: {', '.join(map(str, folders))}; give each its own")
        return volumes

    @property
    def processes(self) -> int:
        """All processes together; each takes its share of a batch."""
        return self.nodes * max(1, self.gpus)

    def is_shared(self, path: PurePosixPath) -> bool:
        """Return whether the path lies on a volume, so that all nodes see it."""
        return any(path.is_relative_to(volume.folder) for volume in self.volumes)

    def shared_folders(self) -> str:
        """List the folders that all nodes see."""
        return ", ".join(str(volume.folder) for volume in self.volumes) or "none"


def longest_name(nodes: int) -> int:
    """Return how many characters the name of a job on this many nodes may have."""
    return POD_NAME_LENGTH - len(str(nodes - 1))


class TrainJob(Nodes):
    """One training on these nodes; `variables` are environment variables beside the secret's.

    torchrun writes the output of each process to files in `logs`, which outlive the pods.
    """

    name: str = Field(
        pattern=r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$", description="a DNS label, as pods need it"
    )
    labels: dict[str, str] = {}
    namespace: str | None = None
    command: str
    arguments: tuple[str, ...]
    out: PurePosixPath
    logs: PurePosixPath
    variables: dict[str, str] = {}

    @model_validator(mode="after")
    def _check_out(self) -> Self:
        if not self.is_shared(self.out):
            raise UserError(
                f"--out {self.out} is on no volume (mounted: {self.shared_folders()}) and would be lost with the pod; "
                "give an absolute path on a volume, or mount a volume there"
            )
        return self

    @model_validator(mode="after")
    def _check_name(self) -> Self:
        if len(self.name) > (longest := longest_name(self.nodes)):
            raise UserError(
                f"name {self.name!r} has {len(self.name)} characters; the pods of {self.nodes} nodes start only with a "
                f"name of at most {longest}"
            )
        return self

    def manifest(self) -> dict[str, Any]:
        """Return the Kubernetes object; quantities are strings."""
        spec = {
            "runtimeRef": {"apiGroup": GROUP, "kind": "ClusterTrainingRuntime", "name": self.runtime},
            "activeDeadlineSeconds": 60 * (self.minutes + QUEUE_MINUTES),
            "trainer": self._trainer(),
            "runtimePatches": [{"manager": MANAGER, "trainingRuntimeSpec": self._patch()}],
        }
        content = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
        metadata: dict[str, Any] = {"name": self.name, "annotations": {CONTENT: content}}
        if self.namespace:
            metadata["namespace"] = self.namespace
        if labels := self.labels | ({QUEUE_LABEL: self.queue} if self.queue else {}):
            metadata["labels"] = labels
        return {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "metadata": metadata, "spec": spec}

    def _trainer(self) -> dict[str, Any]:
        amounts = {"cpu": self.cpu, "memory": self.memory}
        if self.gpus:
            amounts[self.gpu_resource] = str(self.gpus)
        own = [{"name": name, "value": value} for name, value in self.variables.items()]
        return {
            "image": self.image,
            # torchrun reads its other options from the environment; 3 stands for both streams.
            "command": [
                *("torchrun", "--log-dir", str(self.logs), "--tee", "3"),
                *("--no-python", "cascade-clip"),
            ],
            "args": [self.command, *self.arguments],
            "env": [*([] if self.secret is None else _variables(self.secret)), *own],
            "numNodes": self.nodes,
            "numProcPerNode": max(1, self.gpus),
            "resourcesPerNode": {"requests": amounts, "limits": dict(amounts)},
        }

    def _patch(self) -> dict[str, Any]:
        """Patch the runtime's pods: mount volumes and shared memory, select nodes, and refuse to run as root."""
        volumes: list[dict[str, Any]] = []
        mounts: list[dict[str, Any]] = []
        for index, volume in enumerate(self.volumes):
            name = f"volume-{index}"
            volumes.append({"name": name, "persistentVolumeClaim": {"claimName": volume.claim}})
            mounts.append({"name": name, "mountPath": str(volume.folder)})
        memory = {"medium": "Memory", "sizeLimit": self.shared_memory}
        volumes.append({"name": "shared-memory", "emptyDir": memory})
        mounts.append({"name": "shared-memory", "mountPath": "/dev/shm"})
        if self.secret is not None:
            volumes.append({"name": "certificates", "configMap": {"name": CERTIFICATES, "optional": True}})
            mounts.append({"name": "certificates", "mountPath": POD_FOLDER, "readOnly": True})
        pod: dict[str, Any] = {"securityContext": {"runAsNonRoot": True}}
        if self.node_labels:
            pod["nodeSelector"] = self.node_labels
        if self.gpus:  # a taint often keeps other pods off nodes with GPUs
            pod["tolerations"] = [{"key": self.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}]
        pod |= {"volumes": volumes, "containers": [{"name": NODE, "volumeMounts": mounts}]}
        job = {"name": NODE, "template": {"spec": {"template": {"spec": pod}}}}
        return {"template": {"spec": {"replicatedJobs": [job]}}}


def logs_beside(out: PurePosixPath) -> PurePosixPath:
    """Return the folder for the logs of a training that writes `out`."""
    return out.with_name(f".{out.name}.logs")


def write_trainjob(job: TrainJob, out: Path) -> None:
    """Write the manifest as YAML, for `kubectl apply --filename`."""
    with new_file(out, begins=b"apiVersion: trainer.kubeflow.org/") as path:
        path.write_text(yaml.safe_dump(job.manifest(), sort_keys=False), encoding="utf-8")


def _variables(secret: str) -> list[dict[str, Any]]:
    return [
        {
            "name": variable_of(key),
            "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": key in OPTIONAL_KEYS}},
        }
        for key in (*REQUIRED_KEYS, *OPTIONAL_KEYS)
    ]
