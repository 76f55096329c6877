"""The steps before training, and the report, log runs as children of the pipeline's run."""

import socket
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from cascade_core.mini.voc_layout import write_benchmark
from cascade_core.runtime.files import read_json
from components.bodies import before_training
from components.steps import report
from components.tracking import pipeline_run
from components.tracking.store import open_store
from tests.components.candidates import write_evaluation, write_model
from tests.tiny import write_tiny_clip

PROTOCOL = "mini-18-6"


@pytest.fixture
def client(store: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    for name in ("KFP_RUN_ID", "CASCADE_IMAGE", "CASCADE_PARENT_FILE"):
        monkeypatch.delenv(name, raising=False)
    return open_store()


@pytest.fixture
def parent(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> str:
    run = pipeline_run.open_run(pipeline="zero-shot", protocol=PROTOCOL)
    monkeypatch.setenv("CASCADE_PARENT_RUN", run)
    return run


def _children(client: MlflowClient, parent: str) -> dict[str, Run]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, f"tags.`mlflow.parentRunId` = '{parent}'")
    return {run.data.tags["step"]: run for run in runs}


def _before_training(folder: Path, raw: Path) -> None:
    before_training.run(
        raw=raw,
        clip=folder / "clip",
        protocol=PROTOCOL,
        image_sets={"train": "train", "test": "test"},
        templates=("a photo of a {}",),
        prepared=folder / "prepared",
        split=folder / "splits",
        text=folder / "text",
    )


def test_steps_before_training_log_pictures_classes_and_data(
    client: MlflowClient, parent: str, tmp_path: Path
) -> None:
    raw = write_benchmark(tmp_path / "raw", sizes={"train": 3, "val": 1, "test": 2})
    write_tiny_clip(tmp_path / "clip")
    _before_training(tmp_path, raw)
    pipeline_run.close_run(run_id=parent, succeeded=True)
    children = _children(client, parent)
    assert list(children) == ["text_vectors", "splits", "prepare"]
    assert {run.info.status for run in children.values()} == {"FINISHED"}
    prepared, split, text = (children[step] for step in ("prepare", "splits", "text_vectors"))
    assert prepared.data.metrics == {"classes": 24, "pictures.train": 3, "pictures.test": 2}
    assert (split.data.metrics["classes.seen"], split.data.metrics["classes.unseen"]) == (18, 6)
    counted = read_json(tmp_path / "splits" / "split.json")["training_pixels"]
    of_kinds = (split.data.metrics[f"training_pixels.{kind}"] for kind in ("seen", "unseen"))
    assert sum(of_kinds) == sum(counted.values()) == 3 * 64 * 64
    assert text.data.metrics == {"classes": 24, "width": 16, "background_names": 0}
    assert text.data.params["templates"] == "['a photo of a {}']"
    data_hash = read_json(tmp_path / "prepared" / "summary.json")["data_sha256"]
    for run in (prepared, split):
        assert (run.data.tags["data_hash"], run.data.tags["label_set"]) == (data_hash, "mini24")
        assert [entry.dataset.digest for entry in run.inputs.dataset_inputs] == [data_hash[:36]]
    assert prepared.inputs.dataset_inputs[0].dataset.source == str(raw)
    assert prepared.data.tags["git_commit"]
    assert client.get_run(parent).data.tags["data_hash"] == data_hash


def test_broken_data_leave_a_failed_run_that_names_the_file(
    client: MlflowClient, parent: str, tmp_path: Path
) -> None:
    raw = write_benchmark(tmp_path / "raw", sizes={"train": 2, "val": 1, "test": 1})
    broken = next((raw / "SegmentationClass").glob("train*.png"))
    broken.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=broken.name):
        _before_training(tmp_path, raw)
    (run,) = _children(client, parent).values()
    assert (run.info.status, run.data.tags["step"]) == ("FAILED", "prepare")
    assert broken.name in run.data.tags["error"]


def test_a_wrong_folder_is_refused_before_a_run_is_opened(
    client: MlflowClient, parent: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="is not a folder"):
        _before_training(tmp_path, tmp_path / "nowhere")
    assert _children(client, parent) == {}


def test_a_missing_server_is_reported_before_any_work(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    raw = write_benchmark(tmp_path / "raw", sizes={"train": 1, "val": 1, "test": 1})
    with pytest.raises(ValueError, match=f"the MLflow store at {uri} cannot be opened"):
        _before_training(tmp_path, raw)
    assert not (tmp_path / "prepared").exists()


def test_a_report_logs_its_page_and_best_scores(client: MlflowClient, parent: str, tmp_path: Path) -> None:
    write_model(tmp_path)
    classes = pd.DataFrame({"class": ["zebra", "tiger"], "group": ["seen", "unseen"], "iou": [0.6, 0.4]})
    evaluations = [
        write_evaluation(tmp_path / "a"),
        write_evaluation(tmp_path / "b", split="val", hiou=0.5, setting="transductive_oracle"),
    ]
    for folder in evaluations:
        classes.to_csv(folder / "per_class.csv", index=False)
    report.run(evaluations=evaluations, profiles=[tmp_path / "profile"], out=tmp_path / "report")
    run = _children(client, parent)["report"]
    assert (run.data.metrics["rows"], run.data.metrics["best.hiou"]) == (2, 0.5)
    assert run.data.tags["data_hash"] == "ab" * 32 and "split" not in run.data.tags
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert names == {"benchmark.json", "report.html", "table.md"}
