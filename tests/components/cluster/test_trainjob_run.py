"""TrainJobs started, followed and removed by Kubernetes' own client, and a training step that runs as one."""

import dataclasses
import logging
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pytest
import typer

from components.cluster import trainjob_run
from components.cluster.trainjob import Nodes, TrainJob, Volume
from components.cluster.trainjob_run import Jobs
from components.launching import nodes as launch_nodes
from components.patience import Patience
from components.steps import train
from tests.components.conftest import RECIPE, SHORT, Folders
from tests.components.trainer_server import Trainer, serving

NODES = Nodes(image="ours:1", nodes=2, gpus=0, volumes=(Volume.parse("cascade-data=/data"),), minutes=5)
JOB = TrainJob(
    **NODES.model_dump(), name="job", command="train", arguments=("--seed=0",), out=PurePosixPath("/data/out")
)


@pytest.fixture
def trainer() -> Trainer:
    return Trainer()


@pytest.fixture
def jobs(trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    """Give a connection, as a kubeconfig names it, that is quick and loses patience fast."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with serving(trainer, tmp_path) as kubeconfig:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        connected = trainjob_run.connect()
        yield dataclasses.replace(connected, patience=Patience(5.0, first=0.01), poll=0.01)


def test_a_job_is_started_followed_and_removed(
    jobs: Jobs, trainer: Trainer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    go_on, waited = threading.Event(), []
    trainer.work = lambda manifest: waited.append(go_on.wait(20))
    trainjob_run.start(jobs, JOB)
    assert trainer.jobs["job"]["spec"] == JOB.manifest()["spec"]
    trainjob_run.follow(jobs, "job", minutes=1, sleep=lambda _: go_on.set())
    told = caplog.messages
    assert told[0] == "TrainJob team/job: started on 2 nodes"
    assert told[1].startswith("TrainJob job: running, 1 jobs ready (0 min)")
    assert told[-1].startswith("TrainJob job: complete")
    trainjob_run.remove(jobs, "job")
    assert trainer.jobs == {}


def test_a_job_that_fails_fails_the_waiting_with_its_own_message(jobs: Jobs, trainer: Trainer) -> None:
    def fail(manifest: dict[str, Any]) -> None:
        raise RuntimeError("node-0-1 was OOMKilled")

    trainer.work = fail
    trainjob_run.start(jobs, JOB)
    with pytest.raises(
        RuntimeError, match="job failed: JobsEnded: node-0-1 was OOMKilled; .*--namespace team"
    ):
        trainjob_run.follow(jobs, "job", minutes=1)
    assert "job" in trainer.jobs


def test_a_job_of_the_same_name_and_specification_is_adopted_unless_it_failed(
    jobs: Jobs, trainer: Trainer
) -> None:
    trainjob_run.start(jobs, JOB)
    first = trainer.jobs["job"]
    trainjob_run.start(jobs, JOB)
    assert trainer.jobs["job"] is first
    trainer.ended(first, "Failed", "a node went away")
    trainjob_run.start(jobs, JOB)
    assert trainer.jobs["job"] is not first
    other = JOB.model_copy(update={"arguments": ("--seed=1",)})
    with pytest.raises(ValueError, match="job exists in namespace team and is of another training"):
        trainjob_run.start(jobs, other)


@pytest.mark.parametrize("fault", [503, 429, "lost"])
def test_a_job_whose_answer_was_lost_is_not_started_twice(
    jobs: Jobs, trainer: Trainer, fault: int | str
) -> None:
    trainer.faults += [("POST", fault), ("GET", 502)]
    trainjob_run.start(jobs, JOB)
    trainjob_run.follow(jobs, "job", minutes=1)
    assert len(trainer.threads) == 1


def test_waiting_ends_when_time_is_up_or_the_job_is_gone(jobs: Jobs, trainer: Trainer) -> None:
    go_on, waited = threading.Event(), []
    trainer.work = lambda manifest: waited.append(go_on.wait(20))
    trainjob_run.start(jobs, JOB)
    ticks = iter(range(0, 10_000, 50))
    with pytest.raises(
        RuntimeError, match=r"did not end within 1 minutes \(running, .*; it is left as it is"
    ):
        trainjob_run.follow(jobs, "job", minutes=1, sleep=lambda _: None, clock=lambda: next(ticks))
    assert "job" in trainer.jobs
    with pytest.raises(RuntimeError, match="job is gone from namespace team"):
        trainjob_run.follow(jobs, "job", minutes=1, sleep=lambda _: trainer.jobs.clear())
    go_on.set()


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, r"create TrainJob job in namespace team: the token is missing, wrong or expired \(401\)"),
        (403, r"this account may not create trainjobs there; bind the Role of docs/distributed.md to it"),
        (404, r"Kubeflow Trainer 2 is not installed there, or there is no such namespace \(404\)"),
        (422, r"namespace team: planted \(422\)"),
    ],
)
def test_what_the_cluster_refuses_is_told_once_without_the_token(
    jobs: Jobs, trainer: Trainer, status: int, told: str
) -> None:
    trainer.faults.append(("POST", status))
    with pytest.raises(ValueError, match=told) as caught:
        trainjob_run.start(jobs, JOB)
    assert trainer.requests == ["POST"]
    assert "s3cr3t" not in str(caught.value)


def test_a_cluster_that_stays_away_ends_the_waiting(jobs: Jobs, trainer: Trainer) -> None:
    trainer.faults += [("GET", 503)] * 1000
    hasty = dataclasses.replace(jobs, patience=Patience(0.2, first=0.01))
    with pytest.raises(ValueError, match=r"get TrainJob job in namespace team: planted \(503\)"):
        trainjob_run.follow(hasty, "job", minutes=1)


def test_without_access_to_a_cluster_the_ways_to_get_it_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="no access to Kubernetes .* or name a kubeconfig by KUBECONFIG"):
        trainjob_run.connect()


def test_a_namespace_that_is_named_goes_before_the_contexts(jobs: Jobs) -> None:
    assert jobs.namespace == "team"
    assert trainjob_run.connect("other").namespace == "other"


def as_typed(manifest: dict[str, Any]) -> None:
    """Do what the pods of a job do, but in one process: run its command with its arguments."""
    from pipelines.cli.app import app

    command, *arguments = manifest["spec"]["trainer"]["args"]
    typer.main.get_command(app).commands[command].main(arguments, standalone_mode=False)  # type: ignore[attr-defined]


@pytest.fixture
def step(
    folders: Folders, jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, Any], Nodes, Path]:
    """Give the arguments of a training, the nodes it wants, and the folder that stands for their volume.

    That volume holds raw data and CLIP; the prepared folders are elsewhere, as a step's artifacts are.
    """
    monkeypatch.setattr(trainjob_run, "connect", lambda: jobs)
    volume = folders.clip.parent
    arguments = {
        **folders.steps,
        "clip": folders.clip,
        "recipe": RECIPE,
        "overrides": {**SHORT, "optim.min_lr": 1e-05},
        "seed": 3,
        "out": tmp_path / "artifact" / "trained",
    }
    nodes = Nodes(image="ours:1", nodes=2, gpus=0, volumes=(Volume.parse(f"cascade-data={volume}"),))
    return arguments, nodes, volume


def test_a_step_that_outgrows_its_node_trains_to_what_one_process_does(
    step: tuple[dict[str, Any], Nodes, Path], trainer: Trainer, tmp_path: Path
) -> None:
    arguments, nodes, volume = step
    trainer.work = as_typed
    launch_nodes.run_where("train", arguments, nodes.model_dump_json())
    train.run(**{**arguments, "out": tmp_path / "alone"})
    curves = [pd.read_csv(folder / "history.csv") for folder in (arguments["out"], tmp_path / "alone")]
    pd.testing.assert_frame_equal(*curves)
    assert {path.name for path in arguments["out"].iterdir()} >= {"final", "half", "history.csv"}
    # Nothing of a job that was handed on is left.
    assert trainer.jobs == {}
    assert list((volume / launch_nodes.WORK).iterdir()) == []


def test_a_step_tried_again_goes_on_with_the_job_it_had(
    step: tuple[dict[str, Any], Nodes, Path], trainer: Trainer
) -> None:
    arguments, nodes, volume = step
    names = []

    def broken(manifest: dict[str, Any]) -> None:
        names.append(manifest["metadata"]["name"])
        raise RuntimeError("a node went away")

    trainer.work = broken
    for _ in range(2):
        with pytest.raises(RuntimeError, match="failed: JobsEnded: a node went away"):
            launch_nodes.run_where("train", arguments, nodes.model_dump_json())
    assert len(set(names)) == 1 and len(names) == 2
    assert names[0].startswith("train-mini-cascade-clip-")
    assert not arguments["out"].exists()
    assert {path.name for path in (volume / launch_nodes.WORK / names[0]).iterdir()} == {
        "prepared",
        "splits",
        "text",
    }


def test_nodes_are_told_the_pipelines_run_and_how_long_to_wait_for_servers(
    step: tuple[dict[str, Any], Nodes, Path], trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"CASCADE_PARENT_RUN": "a1", "KFP_RUN_ID": "kfp-1", "CASCADE_PATIENCE": "300"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    arguments, nodes, _ = step
    seen: list[dict[str, str]] = []

    def look(manifest: dict[str, Any]) -> None:
        seen.append(
            {one["name"]: one["value"] for one in manifest["spec"]["trainer"]["env"] if "value" in one}
        )
        raise RuntimeError("seen")

    trainer.work = look
    with pytest.raises(RuntimeError, match="seen"):
        launch_nodes.run_where("train", arguments, nodes.model_dump_json())
    assert seen == [told | {"CASCADE_IMAGE": "ours:1"}]


def test_what_not_all_nodes_see_is_refused_before_anything_starts(
    step: tuple[dict[str, Any], Nodes, Path], trainer: Trainer
) -> None:
    arguments, nodes, _ = step
    elsewhere = nodes.model_copy(update={"volumes": (Volume.parse("cascade-data=/data"),)})
    with pytest.raises(ValueError, match=r"data lies in .*, which not all nodes see \(/data\)"):
        launch_nodes.run_where("train", arguments, elsewhere.model_dump_json())
    assert trainer.requests == []
