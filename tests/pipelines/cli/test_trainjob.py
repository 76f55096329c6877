"""The manifest of a training on several nodes: as recorded, as published models want it, started, and what is refused."""

import dataclasses
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubeflow_trainer_api.models import (
    TrainerV1alpha1ClusterTrainingRuntime,
    TrainerV1alpha1JobSpecPatch,
    TrainerV1alpha1TrainJob,
)
from typer.testing import CliRunner

from components.cluster import trainjob, trainjob_run
from components.servers.patience import Patience
from pipelines.cli.app import app
from tests.components.trainer_server import Trainer, serving

GOLDEN = Path(__file__).parent / "golden" / "trainjob.yaml"
"""Written by the command below; regenerate it by that command, and read the difference."""

TRAINING = ["train", "--recipe", "zegclip_voc12", "--clip", "/data/clip", "--out", "/data/train/zegclip"]
JOB = [
    "--nodes",
    "2",
    "--gpus",
    "4",
    "--volume",
    "cascade-data=/data",
    "--image",
    "registry.example/cascade:1",
]


def rendered(tmp_path: Path, *flags: str, training: list[str] = TRAINING) -> dict[str, Any]:
    out = tmp_path / "trainjob.yaml"
    done = CliRunner().invoke(app, ["pipeline", "trainjob", *JOB, *flags, "--out", str(out), "--", *training])
    assert done.exit_code == 0, done.output
    return yaml.safe_load(out.read_text())


def test_the_manifest_is_the_recorded_one(tmp_path: Path) -> None:
    rendered(tmp_path)
    assert (tmp_path / "trainjob.yaml").read_text() == GOLDEN.read_text()


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--gpus", "0", "--namespace", "team", "--volume", "weights=/weights"],
        ["--gpu-resource", "amd.com/gpu", "--node-label", "zone=a", "--node-label", "amd.com/gpu.family=AI"],
    ],
)
def test_the_published_model_keeps_the_whole_manifest(tmp_path: Path, flags: list[str]) -> None:
    manifest = rendered(tmp_path, *flags)
    read = TrainerV1alpha1TrainJob.from_dict(manifest)
    assert read is not None
    assert read.to_dict() == manifest


def test_the_command_runs_as_typed_once_per_gpu(tmp_path: Path) -> None:
    trainer = rendered(tmp_path)["spec"]["trainer"]
    logs = ["--log-dir", "/data/train/.zegclip.logs", "--tee", "3"]
    assert trainer["command"] == ["torchrun", *logs, "--no-python", "cascade-clip"]
    assert trainer["args"] == TRAINING
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 4)
    assert trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == "4"


def test_without_gpus_a_node_runs_one_process_and_asks_for_none(tmp_path: Path) -> None:
    trainer = rendered(tmp_path, "--gpus", "0")["spec"]["trainer"]
    assert trainer["numProcPerNode"] == 1
    assert set(trainer["resourcesPerNode"]["limits"]) == {"cpu", "memory"}


def test_another_gpu_is_requested_by_resource_and_node_labels(tmp_path: Path) -> None:
    spec = rendered(tmp_path, "--gpu-resource", "amd.com/gpu", "--node-label", "zone=a")["spec"]
    assert spec["trainer"]["resourcesPerNode"]["limits"]["amd.com/gpu"] == "4"
    (job,) = spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"zone": "a"}
    assert [one["key"] for one in pod["tolerations"]] == ["amd.com/gpu"]


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trainer]:
    """Give a cluster to start jobs in, and put logging back: commands configure it."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    cluster = Trainer()
    with serving(cluster, tmp_path) as kubeconfig:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        yield cluster
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize(("works", "status"), [(True, 0), (False, 3)])
def test_a_job_is_started_and_followed_where_that_is_asked_for(
    tmp_path: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch, works: bool, status: int
) -> None:
    def fail(manifest: dict[str, Any]) -> None:
        raise RuntimeError("no such image")

    connect = trainjob_run.connect
    quick = {"poll": 0.01, "patience": Patience(300.0, first=0.01)}
    monkeypatch.setattr(trainjob_run, "connect", lambda name: dataclasses.replace(connect(name), **quick))
    if not works:
        trainer.work = fail
    out = tmp_path / "trainjob.yaml"
    done = CliRunner().invoke(
        app, ["pipeline", "trainjob", *JOB, "--start", "--wait", "--out", str(out), "--", *TRAINING]
    )
    assert done.exit_code == status, done.output
    (job,) = trainer.jobs.values()
    assert job["spec"] == yaml.safe_load(out.read_text())["spec"]
    assert ("no such image" in done.stderr) == (not works)


def test_without_a_cluster_only_starting_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    out = tmp_path / "trainjob.yaml"
    done = CliRunner().invoke(
        app, ["pipeline", "trainjob", *JOB, "--start", "--out", str(out), "--", *TRAINING]
    )
    assert done.exit_code == 2 and out.exists()
    assert done.stderr.startswith("error: no access to Kubernetes") and done.stderr.count("\n") == 1


def test_credentials_come_from_the_secret_and_stand_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-secret")
    manifest = rendered(tmp_path, "--secret", "team-keys")
    assert "hidden-secret" not in yaml.safe_dump(manifest)
    variables = {
        item["name"]: item["valueFrom"]["secretKeyRef"] for item in manifest["spec"]["trainer"]["env"]
    }
    assert variables["CASCADE_AWS_SECRET_ACCESS_KEY"] == {
        "name": "team-keys",
        "key": "AWS_SECRET_ACCESS_KEY",
        "optional": True,
    }
    assert not variables["CASCADE_MLFLOW_TRACKING_URI"]["optional"]


def test_a_job_waits_in_a_queue_and_runs_on_a_runtime(tmp_path: Path) -> None:
    manifest = rendered(tmp_path, "--queue", "team", "--runtime", "cascade-clip")
    assert manifest["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "team"}
    assert manifest["spec"]["runtimeRef"]["name"] == "cascade-clip"


def test_the_docs_runtime_is_one_of_the_published_models() -> None:
    """Its retries are those of a Job, which the patches of a TrainJob cannot change."""
    page = (Path(__file__).parents[3] / "docs" / "distributed.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (text,) = (block for block in blocks if "ClusterTrainingRuntime" in block)
    manifest = yaml.safe_load(text)
    read = TrainerV1alpha1ClusterTrainingRuntime.from_dict(manifest)
    assert read is not None and read.to_dict() == manifest
    (job,) = manifest["spec"]["template"]["spec"]["replicatedJobs"]
    assert job["template"]["spec"]["backoffLimit"] > 6 and job["name"] == trainjob.NODE
    assert set(TrainerV1alpha1JobSpecPatch.model_fields) == {"template"}


def test_every_volume_is_mounted_in_the_container_that_trains(tmp_path: Path) -> None:
    patch = rendered(tmp_path, "--volume", "weights=/weights")["spec"]["runtimePatches"][0]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    claims = {item["name"]: item.get("persistentVolumeClaim", {}).get("claimName") for item in pod["volumes"]}
    (container,) = pod["containers"]
    mounted = {item["mountPath"]: claims[item["name"]] for item in container["volumeMounts"]}
    certificates = mounted.pop("/etc/cascade-clip/certificates")
    assert mounted == {"/data": "cascade-data", "/weights": "weights", "/dev/shm": None} and not certificates


@pytest.mark.parametrize(
    ("flags", "training", "sentence"),
    [
        ([], ["evaluate"], "a TrainJob cannot run 'evaluate'; put one of train, self-train after --"),
        ([], [*TRAINING[:-1], "out"], "--out out is on no volume (mounted: /data)"),
        (
            ["--nodes", "3"],
            TRAINING,
            "train.batch_size=16, the batch over all processes, is not divisible by 12",
        ),
        ([], [*TRAINING, "--set", "train.accumulation_steps=4"], "not divisible by 32 (8 processes x 4"),
        (["--name", "Train_1"], TRAINING, "name: String should match pattern"),
        (["--memory", "lots"], TRAINING, "(got 'lots')"),
        (["--wait"], TRAINING, "--wait needs --start"),
        (["--node-label", "gpu"], TRAINING, "--node-label 'gpu' is not KEY=VALUE"),
        (["--volume", "/data"], TRAINING, "volume '/data' is not CLAIM=/FOLDER"),
        (["--volume", "other=/data"], TRAINING, "two volumes have one folder"),
        ([], [*TRAINING, "--itrations", "3"], "No such option"),
        ([], ["train", "--recipe", "zegclip_voc13", *TRAINING[3:]], "unknown recipe 'zegclip_voc13'"),
    ],
)
def test_what_would_fail_in_the_cluster_is_refused_here(
    tmp_path: Path, flags: list[str], training: list[str], sentence: str
) -> None:
    out = tmp_path / "trainjob.yaml"
    done = CliRunner().invoke(app, ["pipeline", "trainjob", *JOB, *flags, "--out", str(out), "--", *training])
    assert done.exit_code == 2, done.output
    assert sentence in " ".join(done.output.split()) + " ".join(done.stderr.split())
    assert not out.exists()


def test_a_self_training_is_rendered_as_well(tmp_path: Path) -> None:
    training = ["self-train", "--trained", "/data/train/zegclip", "--out", "/data/self_train/zegclip"]
    assert rendered(tmp_path, training=training)["spec"]["trainer"]["args"] == training
