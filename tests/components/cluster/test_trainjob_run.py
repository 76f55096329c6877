"""TrainJobs through Kubernetes' own client, and a training step that runs as a TrainJob."""

import dataclasses
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from components.cluster import pod_probe, trainjob, trainjob_run
from components.cluster.trainjob import Nodes, TrainJob, Volume
from components.cluster.trainjob_run import Jobs
from components.launching import nodes as launch_nodes
from components.servers.patience import Patience
from components.steps import train
from pipelines.cli.app import app
from tests.cli_commands import command_at
from tests.components.conftest import RECIPE, SHORT, Folders
from tests.components.trainer_server import Trainer, serving

NODES = Nodes(image="ours:1", nodes=2, gpus=0, volumes=(Volume.parse("cascade-data=/data"),), minutes=5)
JOB = TrainJob(
    **NODES.model_dump(),
    name="job",
    command="train",
    arguments=("--seed=0",),
    out=PurePosixPath("/data/out"),
    logs=PurePosixPath("/data/logs"),
)


@pytest.fixture
def trainer() -> Trainer:
    return Trainer()


@pytest.fixture
def jobs(trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    """Connect by a kubeconfig, with short pauses and a short timeout."""
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
    messages = caplog.messages
    assert messages[0] == "TrainJob team/job: started on 2 nodes"
    assert messages[1].startswith("TrainJob job: running, 1 jobs ready (0 min)")
    assert messages[-1].startswith("TrainJob job: complete")
    trainjob_run.remove(jobs, "job")
    assert trainer.jobs == {}


def test_a_failed_job_is_reported_with_its_own_message(jobs: Jobs, trainer: Trainer) -> None:
    def fail(manifest: dict[str, Any]) -> None:
        raise RuntimeError("node-0-1 was OOMKilled")

    trainer.work = fail
    trainjob_run.start(jobs, JOB)
    with pytest.raises(RuntimeError, match="job failed: JobsEnded: node-0-1 was OOMKilled$"):
        trainjob_run.follow(jobs, "job", minutes=1)
    assert "job" in trainer.jobs


def test_an_equal_job_is_adopted_unless_it_failed(jobs: Jobs, trainer: Trainer) -> None:
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
def test_a_lost_answer_does_not_start_a_job_twice(jobs: Jobs, trainer: Trainer, fault: int | str) -> None:
    trainer.faults += [("POST", fault), ("GET", 502)]
    trainjob_run.start(jobs, JOB)
    trainjob_run.follow(jobs, "job", minutes=1)
    assert len(trainer.threads) == 1


def test_a_webhooks_refusal_is_no_lack_of_rights(jobs: Jobs, trainer: Trainer) -> None:
    trainer.message = (
        'admission webhook "validator.trainjob.trainer.kubeflow.org" denied the request: no such runtime'
    )
    trainer.faults.append(("POST", 403))
    with pytest.raises(ValueError, match=r"namespace team: admission webhook .* no such runtime \(403\)"):
        trainjob_run.start(jobs, JOB)


def test_a_cluster_that_drops_fields_is_refused(jobs: Jobs, trainer: Trainer) -> None:
    trainer.unknown = ("runtimePatches",)
    with pytest.raises(ValueError, match=r"dropped spec\.runtimePatches; install Kubeflow Trainer 2\.2"):
        trainjob_run.start(jobs, JOB)
    assert trainer.jobs == {}


def test_a_rehearsal_starts_nothing_and_finds_what_start_would(
    jobs: Jobs, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainjob_run, "connect", lambda: jobs)
    ((name, holds, detail),) = pod_probe.trainjobs()
    assert (name, holds) == ("TrainJobs", True) and not trainer.jobs and not trainer.threads
    assert trainer.requests == ["POST", "GET"]
    trainer.unknown = ("runtimePatches",)
    ((_, holds, detail),) = pod_probe.trainjobs()
    assert holds is None and "dropped spec.runtimePatches" in detail
    trainer.unknown = ()
    trainer.faults.append(("GET", 403))
    ((_, holds, detail),) = pod_probe.trainjobs()
    assert (
        holds is None and "may not list trainjobs" in detail and "only trainings on several nodes" in detail
    )


def test_added_fields_and_other_quantities_are_not_dropped() -> None:
    sent = {"a": {"memory": "1024Mi"}, "b": [{"c": 1}]}
    kept = {"a": {"memory": "1Gi", "d": 2}, "b": [{"c": 1, "e": 3}], "f": 4}
    assert list(trainjob_run.dropped(sent, kept, "spec")) == []
    assert list(trainjob_run.dropped(kept, sent, "spec")) == ["spec.a.d", "spec.b[0].e", "spec.f"]


def test_the_jobs_of_a_pipeline_are_removed_together(jobs: Jobs, trainer: Trainer) -> None:
    for name, run in (("one", "a"), ("two", "a"), ("three", "b")):
        job = JOB.model_copy(update={"name": name, "labels": {trainjob.PIPELINE_LABEL: run}})
        trainjob_run.start(jobs, job)
    launch_nodes.remove_jobs(["a", "none"], jobs=jobs)
    assert list(trainer.jobs) == ["three"]
    trainjob_run.remove(jobs, "three")
    # With "Foreground" Trainer makes the pods of a job anew while it is deleted.
    assert trainer.propagations == ["Background"] * 2


def test_a_job_whose_pods_wait_is_not_running() -> None:
    job = {"status": {"jobsStatus": [{"name": "node", "active": 1, "ready": 0}]}}
    assert trainjob_run.state(job) == ("waiting", "not all pods are ready")


@pytest.mark.parametrize(("nodes", "longest"), [(2, 48), (10, 48), (11, 47)])
def test_names_leave_room_for_the_names_of_pods(nodes: int, longest: int) -> None:
    values = JOB.model_dump() | {"nodes": nodes}
    assert TrainJob(**values | {"name": "a" * longest}).name
    with pytest.raises(ValueError, match=f"start only with a name of at most {longest}"):
        TrainJob(**values | {"name": "a" * (longest + 1)})


def test_waiting_ends_when_time_is_up_or_the_job_disappears(jobs: Jobs, trainer: Trainer) -> None:
    go_on, waited = threading.Event(), []
    trainer.work = lambda manifest: waited.append(go_on.wait(20))
    trainjob_run.start(jobs, JOB)
    ticks = iter(range(0, 10_000, 50))
    with pytest.raises(
        RuntimeError, match=r"did not end within 1 minutes \(running, .*; the job is not removed"
    ):
        trainjob_run.follow(jobs, "job", minutes=1, sleep=lambda _: None, clock=lambda: next(ticks))
    assert "job" in trainer.jobs
    with pytest.raises(RuntimeError, match="job is gone from namespace team"):
        trainjob_run.follow(jobs, "job", minutes=1, sleep=lambda _: trainer.jobs.clear())
    go_on.set()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, r"create TrainJob job in namespace team: the token is missing, wrong or expired \(401\)"),
        (403, r"this account may not create trainjobs there; bind the Role of docs/distributed.md to it"),
        (404, r"Kubeflow Trainer 2 is not installed there, or there is no such namespace \(404\)"),
        (422, r"namespace team: planted \(422\)"),
    ],
)
def test_a_refusal_is_reported_once_without_the_token(
    jobs: Jobs, trainer: Trainer, status: int, message: str
) -> None:
    trainer.faults.append(("POST", status))
    with pytest.raises(ValueError, match=message) as caught:
        trainjob_run.start(jobs, JOB)
    assert trainer.requests == ["POST"]
    assert "s3cr3t" not in str(caught.value)


def test_a_cluster_that_never_answers_ends_the_waiting(jobs: Jobs, trainer: Trainer) -> None:
    trainer.faults += [("GET", 503)] * 1000
    hasty = dataclasses.replace(jobs, patience=Patience(0.2, first=0.01))
    with pytest.raises(ValueError, match=r"get TrainJob job in namespace team: planted \(503\)"):
        trainjob_run.follow(hasty, "job", minutes=1)


def test_without_a_kubeconfig_the_error_names_ways_to_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="no access to Kubernetes .* or name a kubeconfig by KUBECONFIG"):
        trainjob_run.connect()


def test_a_given_namespace_overrides_the_contexts(jobs: Jobs) -> None:
    assert jobs.namespace == "team"
    assert trainjob_run.connect("other").namespace == "other"


def run_command(manifest: dict[str, Any]) -> None:
    """Run a job's command in this one process, in place of the job's pods."""
    command, *arguments = manifest["spec"]["trainer"]["args"]
    command_at(command).main(arguments, standalone_mode=False)


@pytest.fixture
def step(
    folders: Folders, jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, Any], Nodes, Path]:
    """Return the arguments of a training, its nodes, and the folder of their volume.

    The volume holds raw data and CLIP; the prepared folders lie elsewhere, like a step's artifacts.
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


def test_a_step_on_several_nodes_trains_like_one_process(
    step: tuple[dict[str, Any], Nodes, Path], trainer: Trainer, tmp_path: Path
) -> None:
    arguments, nodes, volume = step
    trainer.work = run_command
    launch_nodes.run_here_or_on_nodes("train", arguments, nodes.model_dump_json())
    train.run(**{**arguments, "out": tmp_path / "one_process"})
    curves = [pd.read_csv(folder / "history.csv") for folder in (arguments["out"], tmp_path / "one_process")]
    pd.testing.assert_frame_equal(*curves)
    assert {path.name for path in arguments["out"].iterdir()} >= {"final", "half", "history.csv"}
    # The job and its working folder are removed.
    assert trainer.jobs == {}
    assert list((volume / launch_nodes.WORK).iterdir()) == []


def test_an_output_on_the_volume_is_written_in_place(
    step: tuple[dict[str, Any], Nodes, Path], trainer: Trainer
) -> None:
    arguments, nodes, volume = step
    outputs = []
    trainer.work = lambda manifest: (
        outputs.append(manifest["spec"]["trainer"]["args"]),
        run_command(manifest),
    )
    out = volume / "trainings" / "key" / "training"
    for _ in range(2):  # a second pod takes what the first one left
        launch_nodes.run_here_or_on_nodes("train", arguments | {"out": out}, nodes.model_dump_json())
    assert len(trainer.threads) == 1
    assert f"--out={out}" in outputs[0]
    assert {path.name for path in out.iterdir()} >= {"final", "half", "history.csv"}
    assert list((volume / launch_nodes.WORK).iterdir()) == []


def test_a_retried_step_uses_the_same_job_name_and_folder(
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
            launch_nodes.run_here_or_on_nodes("train", arguments, nodes.model_dump_json())
    assert len(set(names)) == 1 and len(names) == 2
    assert names[0].startswith("train-mini-cascade-clip-")
    assert not arguments["out"].exists()
    assert {path.name for path in (volume / launch_nodes.WORK / names[0]).iterdir()} == {
        "prepared",
        "splits",
        "text",
    }


def test_a_refused_start_leaves_no_folder(step: tuple[dict[str, Any], Nodes, Path], trainer: Trainer) -> None:
    arguments, nodes, volume = step
    trainer.faults.append(("POST", 403))
    with pytest.raises(ValueError, match="bind the Role of docs/distributed.md"):
        launch_nodes.run_here_or_on_nodes("train", arguments, nodes.model_dump_json())
    assert list((volume / launch_nodes.WORK).iterdir()) == []


def test_a_refused_input_ends_the_job_at_its_first_try(
    step: tuple[dict[str, Any], Nodes, Path], trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, nodes, volume = step
    root, ended = logging.getLogger(), threading.Event()
    monkeypatch.setattr(root, "handlers", [*root.handlers])  # the command replaces them
    monkeypatch.setattr(root, "level", root.level)

    def refuse_and_try_again(manifest: dict[str, Any]) -> None:
        for variable in manifest["spec"]["trainer"]["env"]:
            if "value" in variable:
                monkeypatch.setenv(variable["name"], variable["value"])
        words = [
            *manifest["spec"]["trainer"]["args"],
            "--set=train.batch_size=3",
            "--set=train.accumulation_steps=2",
        ]
        assert CliRunner().invoke(app, words).exit_code == 2
        ended.wait(20)

    trainer.work = refuse_and_try_again
    with pytest.raises(ValueError, match="refused its input: .*accumulation_steps=2 must divide"):
        launch_nodes.run_here_or_on_nodes("train", arguments, nodes.model_dump_json())
    assert trainer.jobs == {}
    assert list((volume / launch_nodes.WORK).iterdir()) == []
    ended.set()


def test_a_job_that_failed_after_its_output_was_complete(
    step: tuple[dict[str, Any], Nodes, Path], trainer: Trainer, caplog: pytest.LogCaptureFixture
) -> None:
    arguments, nodes, _ = step

    def complete_and_fail(manifest: dict[str, Any]) -> None:
        (out_of(manifest) / "final").mkdir(parents=True)
        raise RuntimeError("the other node was evicted")

    trainer.work = complete_and_fail
    launch_nodes.run_here_or_on_nodes("train", arguments, nodes.model_dump_json())
    assert (arguments["out"] / "final").is_dir() and trainer.jobs == {}
    assert "the other node was evicted; but its output is complete, and is taken" in caplog.text


def test_a_second_pod_adopts_what_an_evicted_one_left(
    step: tuple[dict[str, Any], Nodes, Path], trainer: Trainer, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, nodes, _ = step
    go_on = threading.Event()

    def train_later(manifest: dict[str, Any]) -> None:
        go_on.wait(20)
        (out_of(manifest) / "final").mkdir(parents=True)

    def evicted() -> None:
        raise SystemExit(143)

    trainer.work = train_later
    monkeypatch.setattr(launch_nodes.last_words, "raise_refusal", lambda folder: evicted())
    with pytest.raises(SystemExit):
        launch_nodes.run_here_or_on_nodes("train", arguments, nodes.model_dump_json())
    monkeypatch.setattr(launch_nodes.last_words, "raise_refusal", lambda folder: go_on.set())
    launch_nodes.run_here_or_on_nodes("train", arguments, nodes.model_dump_json())
    assert len(trainer.threads) == 1 and (arguments["out"] / "final").is_dir()


def test_a_second_pod_takes_the_output_of_a_closed_run(
    step: tuple[dict[str, Any], Nodes, Path], trainer: Trainer, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit handler has removed the job and ended the run in MLflow; then somebody clicked on Retry."""
    arguments, nodes, _ = step
    monkeypatch.setenv("CASCADE_PARENT_RUN", "a1")
    trainer.work = lambda manifest: (out_of(manifest) / "final").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(launch_nodes, "new_folder", lambda out: (_ for _ in ()).throw(SystemExit(143)))
        with pytest.raises(SystemExit):
            launch_nodes.run_here_or_on_nodes("train", arguments, nodes.model_dump_json())
    launch_nodes.remove_jobs(["a1"], jobs=jobs)
    assert trainer.jobs == {}
    launch_nodes.run_here_or_on_nodes("train", arguments, nodes.model_dump_json())
    assert len(trainer.threads) == 1 and (arguments["out"] / "final").is_dir()


def test_a_failure_quotes_the_process_that_failed_first(
    step: tuple[dict[str, Any], Nodes, Path], trainer: Trainer
) -> None:
    arguments, nodes, _ = step

    def fail(manifest: dict[str, Any]) -> None:
        command = manifest["spec"]["trainer"]["command"]
        logs = Path(command[command.index("--log-dir") + 1])
        for rank, seconds in (("0", 10_020), ("1", 10_010), ("2", 5)):
            folder = logs / f"none_node{rank}" / "attempt_0" / rank
            folder.mkdir(parents=True)
            (folder / "stderr.log").write_text(f"Traceback\nRuntimeError: of process {rank}\n")
            (folder / "stdout.log").write_text("step 1\n")
            extra = {"timestamp": str(seconds)}
            (folder / "error.json").write_text(json.dumps({"message": {"message": "", "extraInfo": extra}}))
        raise RuntimeError("a node went away")

    trainer.work = fail
    with pytest.raises(
        RuntimeError, match="(?s)a node went away; its output is in .*/logs; .*RuntimeError: of process 1$"
    ):
        launch_nodes.run_here_or_on_nodes("train", arguments, nodes.model_dump_json())


def out_of(manifest: dict[str, Any]) -> Path:
    """Return the folder that a job writes."""
    (word,) = (word for word in manifest["spec"]["trainer"]["args"] if word.startswith("--out="))
    return Path(word.removeprefix("--out="))


def test_nodes_inherit_the_pipeline_run_and_the_patience(
    step: tuple[dict[str, Any], Nodes, Path], trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"CASCADE_PARENT_RUN": "a1", "KFP_RUN_ID": "kfp-1", "CASCADE_PATIENCE": "300"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    arguments, nodes, _ = step
    environments: list[dict[str, str]] = []

    def record(manifest: dict[str, Any]) -> None:
        environments.append(
            {one["name"]: one["value"] for one in manifest["spec"]["trainer"]["env"] if "value" in one}
        )
        raise RuntimeError("recorded")

    trainer.work = record
    with pytest.raises(RuntimeError, match="recorded"):
        launch_nodes.run_here_or_on_nodes("train", arguments, nodes.model_dump_json())
    (environment,) = environments
    words = Path(environment.pop("CASCADE_LAST_WORDS"))
    assert words.name == "last_words" and environment == variables | {"CASCADE_IMAGE": "ours:1"}


def test_a_folder_that_some_nodes_lack_is_refused_at_once(
    step: tuple[dict[str, Any], Nodes, Path], trainer: Trainer
) -> None:
    arguments, nodes, _ = step
    elsewhere = nodes.model_copy(update={"volumes": (Volume.parse("cascade-data=/data"),)})
    with pytest.raises(ValueError, match=r"data lies in .*, which not all nodes see \(they see /data\)"):
        launch_nodes.run_here_or_on_nodes("train", arguments, elsewhere.model_dump_json())
    assert trainer.requests == []
