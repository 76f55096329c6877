"""The steps of the predict pipeline: one list, shards that go on after a kill, and one run with counts and classes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image
from pyarrow import parquet

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json
from components.ops import prediction
from components.steps import gather, list_pictures
from components.tracking import kubeflow_run
from components.tracking.experiments import PREDICTIONS
from components.tracking.pipeline_run import PARENT_VARIABLE
from components.tracking.store import open_store
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

LABELS = 'zebra, "grass, sand"'


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of nine pictures, of which one is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(4)
    for i in range(9):
        Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    (folder / "3.png").write_text("no picture")
    return folder


@pytest.fixture
def opened(store: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The pipeline's open run in MLflow, which the steps join."""
    monkeypatch.setenv(PARENT_VARIABLE, "")  # restored after the test
    return kubeflow_run.open_run(pipeline="prediction", protocol=PREDICTIONS, kfp_run="run-1")


def artifact(path: Path, **metadata: Any) -> SimpleNamespace:
    return SimpleNamespace(path=str(path), metadata=metadata)


def test_shards_become_one_run_with_counts_failures_and_classes(
    opened: str, photos: Path, tmp_path: Path
) -> None:
    write_tiny_checkpoint(tmp_path / "final", write_tiny_clip(tmp_path / "clip"), tiny_config())
    place, listed = str(tmp_path / "labelled"), artifact(tmp_path / "listed")
    items = prediction.list_pictures.python_func(
        mlflow_run=opened, pictures=str(photos), place=place, shards=2, listed=listed
    )
    assert items == [{"shard": "0/2"}, {"shard": "1/2"}]

    def predict(shard: str) -> SimpleNamespace:
        index = artifact(tmp_path / f"index-{shard[0]}")
        prediction.predict.python_func(
            listed=listed, shard=shard, model=str(tmp_path / "final"), labels=LABELS, place=place,
            clip=str(tmp_path / "clip"), batch=0, background="", scales="1", flip=False, precision="bf16", short_side=16,
            seen_penalty="0", index=index,
        )  # fmt: skip
        return index

    indices = [predict(item["shard"]) for item in items]
    assert read_json(Path(predict("0/2").path) / "shard.json") == {"pictures": 8, "kept": 8, "failed": 1}
    inference = read_json(tmp_path / "labelled" / "plan.json")["request"]["inference"]
    stated = {name: inference[name] for name in ("precision", "short_side", "seen_penalty")}
    assert stated == {"precision": "bf16", "short_side": 16, "seen_penalty": 0.0}
    results, page, counts = (artifact(tmp_path / name) for name in ("results", "page.html", "counts"))
    prediction.gather.python_func(
        mlflow_run=opened, place=place, runs=indices, results=results, page=page, counts=counts
    )
    assert counts.metadata == {"pictures": 9, "failed": 1, "kept": 8}
    assert "Failures" in Path(page.path).read_text() and "3.png" in Path(page.path).read_text()
    joined = parquet.read_table(tmp_path / "labelled" / "predictions.parquet")
    pixels = [area["pixels"] for row in joined.column("classes").to_pylist() for area in row or ()]

    client = open_store()
    run = client.get_run(opened)
    assert run.info.status == "FINISHED"
    assert (run.data.metrics["pictures"], run.data.metrics["failed"]) == (9, 1)
    by_class = [run.data.metrics[f"pixels.{name}"] for name in ("zebra", "grass sand")]
    assert sum(by_class) == sum(pixels) == 8 * 24 * 32
    names = {item.path for item in client.list_artifacts(opened)}
    assert names == {"predictions.html", "histogram.csv", "failures.csv"}
    assert "`failures.csv` holds pictures that failed" in run.data.tags["mlflow.note.content"]
    assert _steps(client, opened) == {
        "list_pictures", "predict shard 0/2", "predict shard 1/2", "gather",
    }  # fmt: skip


def _steps(client: MlflowClient, parent: str) -> set[str]:
    experiment = client.get_run(parent).info.experiment_id
    runs = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert {run.info.status for run in runs} == {"FINISHED"}
    return {str(run.info.run_name) for run in runs}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("photos/1.png", r"list.txt: photos/1.png is a relative path, .* list absolute paths and s3:// addr"),
        ("", "no picture in .*list.txt"),
    ],
)
def test_a_list_that_pods_cannot_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    monkeypatch.setenv("CASCADE_TRACKING", "off")
    (tmp_path / "list.txt").write_text(line)
    with pytest.raises(UserError, match=message):
        list_pictures.run(
            pictures=str(tmp_path / "list.txt"), place=str(tmp_path / "place"), out=tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_a_shard_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADE_TRACKING", "off")
    with pytest.raises(UserError, match="plan.json does not exist"):
        gather.run(shards=[], place=str(tmp_path), out=tmp_path / "out")
