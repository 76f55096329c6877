"""Tracking: what a step logs to MLflow, also if it fails, if two run at once, and if tracking is off."""

import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from components.servers.addresses import masked
from components.tracking.experiments import experiment_id
from components.tracking.faults import translate_errors
from components.tracking.store import (
    PASSWORD_VARIABLE,
    USER_VARIABLE,
    open_store,
    tracking_uri,
)
from components.tracking.tracker import StepTracker, flattened, tracked_step

PROTOCOL = "mini-18-6"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(autouse=True)
def _store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in the tests' own folder, with one default store for all tests, because creating it takes seconds."""
    monkeypatch.chdir(folder)
    for variable in ("MLFLOW_TRACKING_URI", "CASCADE_TRACKING"):
        monkeypatch.delenv(variable, raising=False)


def _run(tracker: StepTracker) -> Run:
    assert tracker.client is not None and tracker.run_id is not None
    return tracker.client.get_run(tracker.run_id)


def test_a_step_logs_a_finished_run_with_its_files(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for name in ("pictures/a.png", "per_class.csv", "manifest.json"):
        (tmp_path / name).write_bytes(b"content")
    with tracked_step(
        "train",
        protocol=PROTOCOL,
        method="zegclip",
        setting="inductive",
        seed=3,
        parameters={"train": {"iterations": 2}, **{f"p{i}": i for i in range(150)}},
        tags={"data_hash": "ab" * 32},
        out=tmp_path,
    ) as tracker:
        for step in (1, 2):
            tracker.metrics({"loss": 1 / step, "unseen/iou": float("nan")}, step=step)
        tracker.files("per_class.csv", "pictures")
    run = _run(tracker)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "train zegclip inductive seed 3"
    assert run.data.params["train.iterations"] == "2"
    assert len(run.data.params) == 151
    assert run.data.tags["seed"] == "3"
    assert run.data.tags["git_commit"]
    assert run.inputs.dataset_inputs[0].dataset.digest == ("ab" * 32)[:36]
    assert tracker.client is not None and tracker.run_id is not None
    curve = tracker.client.get_metric_history(tracker.run_id, "loss")
    assert [(point.step, point.value) for point in curve] == [(1, 1.0), (2, 0.5)]
    stored = {item.path for item in tracker.client.list_artifacts(tracker.run_id)}
    assert stored == {"per_class.csv", "pictures"}


def test_artifacts_of_a_protocol_lie_beside_the_store(folder: Path) -> None:
    with tracked_step("prepare", protocol=PROTOCOL) as tracker:
        pass
    assert tracker.client is not None and tracker.run_id is not None
    experiment = tracker.client.get_experiment(_run(tracker).info.experiment_id)
    assert experiment.name == PROTOCOL
    assert experiment.artifact_location == (folder / "mlruns" / "artifacts").as_uri()


def test_a_failing_step_leaves_a_failed_run_that_says_why() -> None:
    with pytest.raises(ValueError, match="bad input"):  # noqa: PT012
        with tracked_step("train", protocol=PROTOCOL) as tracker:
            tracker.metrics({"loss": 1.0})
            raise ValueError("bad input")
    run = _run(tracker)
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == "ValueError: bad input"
    assert run.data.metrics == {"loss": 1.0}


def test_an_interrupted_step_leaves_a_killed_run() -> None:
    with pytest.raises(KeyboardInterrupt), tracked_step("train", protocol=PROTOCOL) as tracker:
        raise KeyboardInterrupt
    assert _run(tracker).info.status == "KILLED"


def test_a_deleted_experiment_comes_back() -> None:
    client = open_store()
    with tracked_step("train", protocol="deleted") as tracker:
        pass
    client.delete_experiment(_run(tracker).info.experiment_id)
    with tracked_step("train", protocol="deleted") as tracker:
        pass
    assert _run(tracker).info.status == "FINISHED"


def test_two_processes_may_restore_one_experiment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, restore = open_store(), MlflowClient.restore_experiment
    wanted = client.create_experiment("deleted by two")
    client.delete_experiment(wanted)

    def overtaken(self: MlflowClient, experiment: str) -> None:
        restore(self, experiment)
        restore(self, experiment)

    monkeypatch.setattr(MlflowClient, "restore_experiment", overtaken)
    assert experiment_id(client, "deleted by two") == wanted


def test_tracking_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CASCADE_TRACKING", "off")
    with tracked_step("train", protocol=PROTOCOL) as tracker:
        tracker.metrics({"loss": 1.0})
        tracker.files("table.csv")
    assert tracker.run_id is None
    assert not list(tmp_path.iterdir())


def test_the_environment_chooses_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://tracking.example.org")
    assert tracking_uri() == "https://tracking.example.org"


def test_a_store_that_cannot_be_opened_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database, but longer than a header would be " * 40)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with (
        pytest.raises(ValueError, match=r"mlflow\.db cannot be opened"),
        tracked_step("train", protocol=PROTOCOL),
    ):
        pass


def test_a_password_in_the_address_is_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own message about a missing server contains the whole address."""
    for variable in (USER_VARIABLE, PASSWORD_VARIABLE):
        monkeypatch.setenv(variable, "another")  # and so it is undone
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:s3cret@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ValueError, match=r"API request to http://127") as raised:
        open_store()
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "masked_text"),
    [
        ("of postgresql://me:a@b@host/db?password=x&y=1", "of postgresql://me:***@host/db?password=***&y=1"),
        ("to http://host:5000/api and sqlite:////a.db", "to http://host:5000/api and sqlite:////a.db"),
    ],
)
def test_only_passwords_are_masked(text: str, masked_text: str) -> None:
    assert masked(text) == masked_text


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ClientError({"Error": {"Code": "NoSuchBucket"}}, "GetObject"), ValueError),
        (MlflowException("no such version"), ValueError),
        (FileNotFoundError("artifacts/final"), ValueError),
        (KeyError("a mistake of ours"), KeyError),
    ],
    ids=["bucket", "version", "file", "mistake"],
)
def test_store_errors_become_one_sentence(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind) as raised, translate_errors("the model", way_out="look for it"):
        raise error
    assert kind is KeyError or str(raised.value).startswith("the model cannot be read (")


def test_two_processes_make_and_fill_one_store(tmp_path: Path) -> None:
    program = (
        "from components.tracking.tracker import tracked_step\n"
        "with tracked_step('train', protocol='both') as tracker:\n"
        "    for step in range(200): tracker.metrics({'loss': step}, step=step)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    noise = [process.communicate(timeout=240)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], noise
    assert noise == ["", ""]
    client = MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("both")
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert {len(client.get_metric_history(run.info.run_id, "loss")) for run in runs} == {200}


def test_nested_parameters_get_dotted_names() -> None:
    assert flattened({"a": {"b": {"c": 1}}, "d": (2, 3)}) == {"a.b.c": 1, "d": (2, 3)}
