"""The predict pipeline with every step run: by `kfp.local` and by a server, its tables equal one process's byte for byte."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from pipelines.workstation.workflow import stage_environment
from tests.pipelines.kfp_server import Server, serving

pytestmark = pytest.mark.slow

REQUEST = {"model": "mini", "labels": "zebra, grass", "shards": "2"}


def call(folder: Path, *words: str, code: int = 0) -> str:
    """Run `cascade-clip` in a folder, with a store of its own, and return its output."""
    environment = {**stage_environment(), "OMP_NUM_THREADS": "1", "TERM": "dumb"}
    environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlruns/mlflow.db"}
    environment.pop("CASCADE_TRACKING", None)
    done = subprocess.run(
        [Path(sys.executable).parent / "cascade-clip", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == code, f"{' '.join(words)}:\n{done.stdout[-6000:]}"
    return done.stdout


def parameters(folder: Path, **values: str) -> list[str]:
    places = {"pictures": str(folder / "photos"), "out": str(folder / "labelled")}
    return [f"-p{name}={value}" for name, value in {**REQUEST, **places, **values}.items()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw nineteen pictures, one of which is none, and label them in one process."""
    folder = tmp_path_factory.mktemp("list")
    (folder / "photos").mkdir()
    (folder / "mlruns").mkdir()
    random = np.random.default_rng(4)
    for i in range(19):
        pixels = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{i:02}.png")
    (folder / "photos" / "09.png").write_text("no picture")
    words = [str(folder / "photos"), "--model", "mini", "--labels", "zebra, grass", "--out", "one"]
    call(folder, "predict", *words, "--shard", "0/1")
    call(folder, "predict", "--gather", "--out", "one", code=3)
    return folder


def results(folder: Path) -> dict[str, bytes]:
    """Return the files that do not depend on the number of shards."""
    files = [folder / "predictions.parquet", folder / "histogram.csv", *folder.glob("label_maps/*")]
    return {path.name: path.read_bytes() for path in files}


def test_a_local_run_equals_one_process(folder: Path) -> None:
    printed = call(
        folder, "pipeline", "run-local", "--pipeline", "predict", *parameters(folder), "--out", "kfp"
    )
    assert f"{folder}/labelled: 19 pictures, 1 of them failed" in printed
    assert "| grass |" in printed
    assert results(folder / "labelled") == results(folder / "one")
    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("predictions")
    (run,) = client.search_runs([experiment.experiment_id], "tags.pipeline = 'prediction'")
    assert run.info.status == "FINISHED"
    counts = {name: run.data.metrics[name] for name in ("pictures", "failed", "kept")}
    assert counts == {"pictures": 19, "failed": 1, "kept": 0}
    assert run.data.metrics["pixels.zebra"] + run.data.metrics["pixels.grass"] == 18 * 24 * 32


def test_a_server_runs_it_and_names_what_a_shard_refuses(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CASCADE_TRACKING", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlruns/mlflow.db")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with serving(Server(folder / "server")) as server:
        submit = ["pipeline", "submit", "--host", server.host, "--pipeline", "predict", "--wait"]
        submit += ["--resource", "predict.queue=team", "--resource", "predict.parallelism=1"]
        done = call(folder, *submit, *parameters(folder, out=str(folder / "served")))
        assert "predict (shard 0/2)" in done and "predict (shard 1/2)" in done
        assert results(folder / "served") == results(folder / "one")
        refused = call(folder, *submit, *parameters(folder, out=str(folder / "served"), labels="bee"), code=3)
    assert "other shards there began with another request (labels)" in refused
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    experiment = client.get_experiment_by_name("predictions")
    failed, *_ = client.search_runs([experiment.experiment_id], "tags.pipeline = 'prediction'")
    assert failed.info.status == "FAILED"
    assert "another request (labels)" in failed.data.tags["error"]
