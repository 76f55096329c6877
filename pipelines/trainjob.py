"""A training on several nodes: the same command, as a `TrainJob` of Kubeflow Trainer (version 2).

Trainer's torch runtime starts a pod per node and tells torchrun its place (PET_NNODES, PET_MASTER_ADDR, ...);
in each pod torchrun starts `cascade-clip train` or `self-train` once per GPU, as on one machine.
"""

from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cascade_core.files import new_file
from pipelines.resources import OPTIONAL_KEYS, REQUIRED_KEYS

API_VERSION, KIND = "trainer.kubeflow.org/v1alpha1", "TrainJob"
MANAGER = "cascade-clip-workflow/manager"
NODE = "node"
"""What Trainer's torch runtime calls its replicated job and, in it, the container that trains."""

GPU = "nvidia.com/gpu"


class Volume(BaseModel):
    """A volume claim, and the folder at which every node has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: str = Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    folder: PurePosixPath

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `CLAIM=/FOLDER`.

        Raises:
            ValueError: it is none, the claim is no Kubernetes name, or the folder is not absolute.
        """
        claim, _, folder = text.partition("=")
        if not (claim and folder.startswith("/")):
            raise ValueError(f"volume {text!r} is not CLAIM=/FOLDER; an example is cascade-data=/data")
        return cls(claim=claim, folder=PurePosixPath(folder))


class TrainJob(BaseModel):
    """One training on `nodes` nodes with `gpus` processes each (one on processors, if 0)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$", description="a DNS label, as pods need it"
    )
    namespace: str | None = None
    image: str = Field(min_length=1)
    command: Literal["train", "self-train"]
    arguments: tuple[str, ...]
    out: PurePosixPath
    nodes: int = Field(gt=0)
    gpus: int = Field(ge=0)
    cpu: str = Field(default="8", pattern=r"^\d+(\.\d+)?m?$", description="cores per node")
    memory: str = Field(default="32Gi", pattern=r"^\d+([KMGT]i?)?$", description="per node")
    shared_memory: str = Field(default="8Gi", pattern=r"^\d+([KMGT]i?)?$", description="for loader workers")
    volumes: tuple[Volume, ...]
    secret: str | None = None
    runtime: str = "torch-distributed"
    minutes: int = Field(default=2880, gt=0)

    @field_validator("volumes")
    @classmethod
    def _check_folders(cls, volumes: tuple[Volume, ...]) -> tuple[Volume, ...]:
        folders = [volume.folder for volume in volumes]
        if len(set(folders)) != len(folders):
            raise ValueError(f"two volumes at one folder: {', '.join(map(str, folders))}")
        return volumes

    @model_validator(mode="after")
    def _check_out(self) -> Self:
        if not any(self.out.is_relative_to(volume.folder) for volume in self.volumes):
            known = ", ".join(str(volume.folder) for volume in self.volumes) or "none"
            raise ValueError(
                f"--out {self.out} lies on no volume (there is {known}) and would be lost with its pod; give an "
                "absolute path on one, or mount another volume there"
            )
        return self

    @property
    def processes(self) -> int:
        """All processes together, each of which takes its share of a batch."""
        return self.nodes * max(1, self.gpus)

    def manifest(self) -> dict[str, Any]:
        """Return the object that Kubernetes gets; quantities are strings."""
        metadata = {"name": self.name, **({"namespace": self.namespace} if self.namespace else {})}
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": metadata,
            "spec": {
                "runtimeRef": {
                    "apiGroup": API_VERSION.partition("/")[0],
                    "kind": "ClusterTrainingRuntime",
                    "name": self.runtime,
                },
                "activeDeadlineSeconds": 60 * self.minutes,
                "trainer": self._trainer(),
                "runtimePatches": [{"manager": MANAGER, "trainingRuntimeSpec": self._patch()}],
            },
        }

    def _trainer(self) -> dict[str, Any]:
        amounts = {"cpu": self.cpu, "memory": self.memory, **({GPU: str(self.gpus)} if self.gpus else {})}
        return {
            "image": self.image,
            # torchrun reads from the environment what it is not told here.
            "command": ["torchrun", "--no-python", "cascade-clip"],
            "args": [self.command, *self.arguments],
            "env": [] if self.secret is None else _variables(self.secret),
            "numNodes": self.nodes,
            "numProcPerNode": max(1, self.gpus),
            "resourcesPerNode": {"requests": amounts, "limits": dict(amounts)},
        }

    def _patch(self) -> dict[str, Any]:
        """Mount the volumes and shared memory into the runtime's pods, and refuse to run as root."""
        claims = {f"volume-{index}": volume for index, volume in enumerate(self.volumes)}
        memory = {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": self.shared_memory}}
        pod = {
            "securityContext": {"runAsNonRoot": True},
            "volumes": [
                *(
                    {"name": name, "persistentVolumeClaim": {"claimName": volume.claim}}
                    for name, volume in claims.items()
                ),
                memory,
            ],
            "containers": [
                {
                    "name": NODE,
                    "volumeMounts": [
                        *({"name": name, "mountPath": str(volume.folder)} for name, volume in claims.items()),
                        {"name": "shared-memory", "mountPath": "/dev/shm"},
                    ],
                }
            ],
        }
        job = {"name": NODE, "template": {"spec": {"template": {"spec": pod}}}}
        return {"template": {"spec": {"replicatedJobs": [job]}}}


def write_trainjob(job: TrainJob, out: Path) -> None:
    """Write the manifest as YAML, for `kubectl apply --filename`."""
    with new_file(out) as path:
        path.write_text(yaml.safe_dump(job.manifest(), sort_keys=False))


def _variables(secret: str) -> list[dict[str, Any]]:
    return [
        {
            "name": key,
            "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": key in OPTIONAL_KEYS}},
        }
        for key in (*REQUIRED_KEYS, *OPTIONAL_KEYS)
    ]
