"""A store that becomes unavailable: steps end well, and one command logs their runs from their folders later."""

import errno
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from botocore.exceptions import ClientError
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from requests.exceptions import ChunkedEncodingError
from werkzeug.wrappers import Response

from cascade_core.clip.weights import new_clip, save_clip
from cascade_core.configs.backbones import MINI_CLIP
from cascade_core.datasets.mini import TEMPLATES
from cascade_core.mini.voc_layout import write_benchmark
from cascade_core.mini.vocabulary import WORDS
from cascade_core.runtime.files import new_folder
from components.artifacts.manifest import TRACKING_FILE, input_hash, read_step_manifest, write_manifest
from components.bodies import before_training
from components.progress import Progress
from components.steps import prepare, splits, text_vectors, train
from components.tracking import pipeline_run, stored_files
from components.tracking import store as tracking_store
from components.tracking.faults import store_unavailable
from components.tracking.run_record import RunRecord, record_folders
from components.tracking.store import open_store
from components.tracking.tracker import StepTracker, tracked_step
from tests.components.moto_server import object_store
from tests.components.tracking_server import TrackingServer, started

PROTOCOL = "mini-18-6"


@pytest.fixture
def server(store: Path) -> Iterator[TrackingServer]:
    with pytest.MonkeyPatch.context() as patch:
        server = started(store, store / "mlruns" / "mlflow.db", patch)
        yield server
        server.stop()


def _step(out: Path, server: TrackingServer, *, back: bool = False) -> StepTracker:
    """Run a step whose store becomes unavailable, and is back before the end if `back`."""
    with tracked_step("evaluate", protocol=PROTOCOL, parameters={"a": 1}, out=out) as tracker:
        tracker.metrics({"loss": 3.0}, step=1)
        tracker.flush()
        with new_folder(out) as folder:
            server.stop()
            tracker.metrics({"loss": 2.0, "iou": math.nan}, step=2)
            tracker.flush()
            tracker.tags({"split": "test"})
            (folder / "scores.json").write_text("{}")
            (folder / "pictures").mkdir()
            (folder / "pictures" / "a.png").write_bytes(b"png")
            tracker.files("scores.json", "pictures")
            write_manifest(folder, step="evaluate", inputs={}, parameters={})
        if back:
            server.start()
    return tracker


def _recorded(tracker: StepTracker) -> tuple[Run, dict[str, list[tuple[int, float]]], set[str]]:
    assert tracker.run_id is not None
    client = MlflowClient()
    run = client.get_run(tracker.run_id)
    curves = {
        name: [(point.step, point.value) for point in client.get_metric_history(tracker.run_id, name)]
        for name in run.data.metrics
    }
    stored = [*client.list_artifacts(tracker.run_id), *client.list_artifacts(tracker.run_id, "pictures")]
    return run, curves, {item.path for item in stored}


def _check_recorded(tracker: StepTracker) -> None:
    run, curves, artifacts = _recorded(tracker)
    assert (run.info.status, run.data.tags["split"], run.data.params) == ("FINISHED", "test", {"a": "1"})
    assert curves["loss"] == [(1, 3.0), (2, 2.0)]
    ((step, value),) = curves["iou"]
    assert step == 2 and math.isnan(value)
    assert artifacts == {"scores.json", "pictures", "pictures/a.png"}


def test_repeated_recording_of_a_folder_adds_nothing(
    server: TrackingServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    tracker = _step(out, server)
    assert "is lost" in caplog.text
    assert f"the step ended well; once the store is back: cascade-clip record {out}" in caplog.text
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out"]
    with pytest.raises(ValueError, match="cannot be opened"):
        record_folders([out])
    server.start()
    for _ in range(2):
        assert record_folders([tmp_path]) == [tracker.run_id]
        _check_recorded(tracker)


def test_the_record_is_not_part_of_the_folders_hash(server: TrackingServer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _step(out, server)
    assert (out / TRACKING_FILE).is_file()
    recorded = read_step_manifest(out).content_sha256
    (out / "manifest.json").unlink()
    assert input_hash(out) == recorded


def test_a_store_back_at_the_end_gets_the_whole_record(
    server: TrackingServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = _step(tmp_path / "out", server, back=True)
    _check_recorded(tracker)
    assert "the MLflow store is back" in caplog.text
    assert not list(tmp_path.rglob(TRACKING_FILE))


def test_training_continues_without_its_store(
    server: TrackingServer, store: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.tracking.tracker.FLUSH_SECONDS", 0.0)
    # Measure the load so often that some of it is measured without a store.
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", "1")
    save_clip(tmp_path / "clip", new_clip(MINI_CLIP, seed=0), words=list(WORDS))
    splits.run(prepared=prepared, protocol=PROTOCOL, out=tmp_path / "splits")
    text_vectors.run(protocol=PROTOCOL, templates=TEMPLATES, clip=tmp_path / "clip", out=tmp_path / "text")
    advance = Progress.advance

    def stop_at_two(self: Progress, done: int, text: str = "", *, total: int | None = None) -> None:
        advance(self, done, text, total=total)
        if done == 2:
            server.stop()

    monkeypatch.setattr(Progress, "advance", stop_at_two)
    overrides = {
        "train.iterations": 4,
        "train.batch_size": 2,
        "train.log_every": 1,
        "optim.warmup_iterations": 1,
    }
    trained = train.run(
        prepared=prepared,
        splits=tmp_path / "splits",
        text=tmp_path / "text",
        clip=tmp_path / "clip",
        recipe="mini_zegclip",
        overrides=overrides,
        seed=0,
        out=tmp_path / "trained",
    )
    assert (trained.final / "model.safetensors").is_file()
    server.start()
    record_folders([tmp_path / "trained"])
    client = MlflowClient(f"sqlite:///{store / 'mlruns' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(PROTOCOL)
    (run,) = client.search_runs([experiment.experiment_id], "tags.step = 'train'")
    assert run.info.status == "FINISHED"
    losses = client.get_metric_history(run.info.run_id, "loss")
    history = pd.read_csv(tmp_path / "trained" / "history.csv")
    assert [(point.step, pytest.approx(point.value)) for point in losses] == list(
        zip(history["iteration"], history["loss"], strict=True)
    )
    load = client.get_metric_history(run.info.run_id, "system/system_memory_usage_megabytes")
    assert [point.step for point in load] == list(range(len(load)))
    # The store goes away with the second loss; the load is recorded before and after that.
    assert load[0].timestamp < losses[1].timestamp < load[-1].timestamp


def test_a_failed_step_keeps_its_own_error_and_its_record(server: TrackingServer, tmp_path: Path) -> None:
    with (  # noqa: PT012
        pytest.raises(KeyError, match="own"),
        tracked_step("train", protocol=PROTOCOL, out=tmp_path / "out") as tracker,
    ):
        server.stop()
        tracker.files("pictures")
        raise KeyError("own")
    server.start()
    record_folders([tmp_path])
    run, _, _ = _recorded(tracker)
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", "KeyError: 'own'")


def test_a_dead_host_at_the_start_is_one_clear_error(server: TrackingServer, tmp_path: Path) -> None:
    server.stop()
    with (
        pytest.raises(
            ValueError, match=rf"the MLflow store at {server.uri} cannot be opened .* CASCADE_TRACKING=off"
        ),
        tracked_step("train", protocol=PROTOCOL, out=tmp_path / "out"),
    ):
        raise AssertionError("the step ran")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def parent(server: TrackingServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a pipeline's run, opened while the server runs."""
    run_id = pipeline_run.open_run(pipeline="zero-shot", protocol=PROTOCOL, kfp_run="kfp-1")
    monkeypatch.setenv("CASCADE_PARENT_RUN", run_id)
    return run_id


def _steps_of(parent: str) -> list[Run]:
    client = MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.`mlflow.parentRunId` = '{parent}'"))


def test_a_pipelines_steps_survive_a_lost_server(
    server: TrackingServer, parent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_benchmark(tmp_path / "raw", sizes={"train": 2, "val": 1, "test": 1})
    save_clip(tmp_path / "clip", new_clip(MINI_CLIP, seed=0), words=list(WORDS))
    run = prepare.run

    def then_stop(**arguments: Any) -> prepare.Prepared:
        prepared = run(**arguments)
        server.stop()
        return prepared

    monkeypatch.setattr("components.bodies.before_training.prepare.run", then_stop)
    folders = {name: tmp_path / name for name in ("prepared", "split", "text")}
    before_training.run(
        raw=raw,
        clip=tmp_path / "clip",
        protocol=PROTOCOL,
        image_sets={"train": "train", "test": "test"},
        templates=TEMPLATES,
        **folders,
    )
    assert [(folder / TRACKING_FILE).is_file() for folder in folders.values()] == [False, True, True]
    server.start()
    pipeline_run.close_run(run_id=parent, succeeded=True)
    for _ in range(2):
        assert len(record_folders([tmp_path])) == 2
        runs = {run.data.tags["step"]: run for run in _steps_of(parent)}
        assert sorted(runs) == ["prepare", "splits", "text_vectors"] and len(_steps_of(parent)) == 3
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert {run.data.tags["kfp_run"] for run in runs.values()} == {"kfp-1"}
    assert runs["splits"].data.tags["data_hash"] == runs["prepare"].data.tags["data_hash"]
    assert [entry.dataset.digest for entry in runs["splits"].inputs.dataset_inputs]
    assert runs["text_vectors"].data.metrics["classes"] == 24
    assert runs["text_vectors"].info.start_time < runs["text_vectors"].info.end_time


def test_a_store_back_at_the_end_gets_a_pipelines_step(
    server: TrackingServer, parent: str, tmp_path: Path
) -> None:
    server.stop()
    with tracked_step("train", protocol=PROTOCOL, out=tmp_path / "out") as tracker:
        tracker.metrics({"loss": 1.0}, step=1)
        (tmp_path / "out").mkdir()
        server.start()
    (run,) = _steps_of(parent)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"loss": 1.0})
    assert not list(tmp_path.rglob(TRACKING_FILE))


def test_a_pipelines_training_starts_without_a_database(
    server: TrackingServer, parent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg2://mlflow@127.0.0.1:1/mlflow")
        with tracked_step("train", protocol=PROTOCOL, out=tmp_path / "out"):
            (tmp_path / "out").mkdir()
            time.sleep(0.5)
    record_folders([tmp_path])
    (run,) = _steps_of(parent)
    assert run.data.metrics["system/system_memory_usage_megabytes"] > 0


def test_a_step_failed_without_store_is_recorded_as_failed(
    server: TrackingServer, parent: str, tmp_path: Path
) -> None:
    server.stop()
    with pytest.raises(KeyError), tracked_step("train", protocol=PROTOCOL, out=tmp_path / "out"):
        raise KeyError("lava")
    server.start()
    for _ in range(2):
        record_folders([tmp_path])
        (run,) = _steps_of(parent)
        assert (run.info.status, run.data.tags["error"]) == ("FAILED", "KeyError: 'lava'")


def test_only_a_pipelines_step_survives_a_failed_start(
    server: TrackingServer, parent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        try:
            raise ChunkedEncodingError("IncompleteRead")
        except ChunkedEncodingError as error:
            raise MlflowException(f"API request failed with exception {error}")  # noqa: B904

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", killed)
        with tracked_step("train", protocol=PROTOCOL, out=tmp_path / "out"):
            (tmp_path / "out").mkdir()
        with (
            pytest.raises(ValueError, match=r"was lost in step gate .*IncompleteRead"),
            tracked_step("gate", protocol=PROTOCOL),
        ):
            raise AssertionError("the step ran")
    assert len(record_folders([tmp_path / "out"])) == 1
    assert [run.data.tags["step"] for run in _steps_of(parent)] == ["train"]


def test_a_refused_token_ends_a_pipelines_step_too(
    server: TrackingServer, parent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parent
    monkeypatch.setenv("CASCADE_PATIENCE", "600")
    monkeypatch.setattr(server._server, "app", Response("You are not authenticated.", status=401))
    with (
        pytest.raises(ValueError, match="cannot be opened .*401"),
        tracked_step("train", protocol=PROTOCOL, out=tmp_path / "out"),
    ):
        raise AssertionError("the step ran")


def test_a_step_waits_for_a_restarted_server(
    server: TrackingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADE_PATIENCE", "60")
    server.stop()
    waking = threading.Timer(0.5, server.start)
    waking.start()
    with tracked_step("gate", protocol=PROTOCOL, out=tmp_path / "out") as tracker:
        pass
    waking.join()
    run, _, _ = _recorded(tracker)
    assert run.info.status == "FINISHED"


def test_no_error_contains_the_stores_password(
    server: TrackingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stop()
    for variable in (tracking_store.USER_VARIABLE, tracking_store.PASSWORD_VARIABLE):
        monkeypatch.setenv(variable, "another")  # and so it is undone
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri.replace("//", "//me:s3cret@"))
    with pytest.raises(ValueError, match="cannot be opened") as raised, tracked_step("a", protocol=PROTOCOL):
        raise AssertionError("the step ran")
    assert "s3cret" not in str(raised.value)
    monkeypatch.setattr(stored_files, "open_store", lambda: None)
    monkeypatch.setattr(stored_files, "check_place", lambda _: None)
    with pytest.raises(ValueError, match="of the store at .* cannot be read") as raised:
        stored_files.download("models:/zegclip@champion", tmp_path)
    assert "s3cret" not in str(raised.value)


def test_an_expired_token_is_one_clear_error(
    server: TrackingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server answers every call with status 401, as its password plugin does."""
    monkeypatch.setattr(server._server, "app", Response("You are not authenticated.", status=401))
    with (
        pytest.raises(ValueError, match=rf"the MLflow store at {server.uri} cannot be opened .*401"),
        tracked_step("train", protocol=PROTOCOL, out=tmp_path / "out"),
    ):
        raise AssertionError("the step ran")


def test_a_step_that_needs_the_store_fails_without_it(server: TrackingServer) -> None:
    with (  # noqa: PT012
        pytest.raises(ValueError, match="was lost in step register .* run the step again"),
        tracked_step("register", protocol=PROTOCOL) as tracker,
    ):
        server.stop()
        tracker.tags({"a": 1})


@pytest.mark.parametrize(
    ("error", "unavailable"),
    [
        (MlflowException("API request failed with exception"), True),
        (ConnectionError("refused"), True),
        (ClientError({"Error": {"Code": "ExpiredToken"}}, "PutObject"), True),
        (MlflowException.invalid_parameter_value("no such metric"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (KeyError("a mistake of ours"), False),
    ],
    ids=["server", "connection", "token", "value", "disk full", "mistake"],
)
def test_only_an_unreachable_store_is_unavailable(error: Exception, unavailable: bool) -> None:
    assert store_unavailable(error) == unavailable


def test_missing_and_damaged_records_are_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no tracking\.json in or below"):
        record_folders([tmp_path / "out"])
    record = RunRecord(protocol=PROTOCOL, name="train", started=1)
    (tmp_path / TRACKING_FILE).write_text(record.model_dump_json().replace('"started":1', '"started":"soon"'))
    with pytest.raises(ValueError, match=r"tracking\.json: started: .*; was it edited"):
        record_folders([tmp_path])


def test_a_deleted_run_is_one_clear_error(store: Path, tmp_path: Path) -> None:
    record = RunRecord(protocol=PROTOCOL, name="train", started=1, run_id="0" * 32, tags={"a": "1"})
    (tmp_path / TRACKING_FILE).write_text(record.model_dump_json())
    with pytest.raises(ValueError, match=r"tracking\.json was not taken by the MLflow store .*0{32}"):
        record_folders([tmp_path])


def test_an_object_stores_refusal_is_one_clear_error(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with object_store(monkeypatch):
        open_store().create_experiment("elsewhere", artifact_location="s3://nobody-made-it/mlflow")
        with (  # noqa: PT012
            pytest.raises(ValueError, match=r"was lost in step register .*NoSuchBucket.* run the step again"),
            tracked_step("register", protocol="elsewhere") as tracker,
        ):
            assert tracker.client is not None and tracker.run_id is not None
            tracker.client.log_text(tracker.run_id, "tiger", "card.md")
