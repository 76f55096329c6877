"""The public API: its results are those of the commands (test_platforms.py: importing it needs no MLflow and no Unix)."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

import cascade_clip
from cascade_core.checkpoints.model_folder import write_model_folder
from cascade_core.runtime.files import read_json
from components.tracking.store import open_store
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

ROOT = Path(__file__).parents[2]
STORED = ROOT / "tests" / "formats" / "stored"
LABELS = ["zebra", "tiger", "sand"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a checkpoint `final`, its `clip`, and the model folder `model` made from both."""
    write_tiny_checkpoint(tmp_path / "final", write_tiny_clip(tmp_path / "clip"), tiny_config())
    write_model_folder(tmp_path / "final", tmp_path / "clip", tmp_path / "model")
    return tmp_path


def _picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def test_a_model_loads_from_a_folder_and_from_mlflow_alike(
    store: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model_folder(model / "final", model / "clip", model / "logged" / "artifacts")
    client = open_store()
    client.create_registered_model("tiny")
    client.create_model_version("tiny", (model / "logged").as_uri())
    client.set_registered_model_alias("tiny", "champion", "1")
    expected = cascade_clip.Predictor.load(model / "final", model / "clip", device="cpu")
    # As in a process that has not opened the store: then MLflow knows it from the environment alone.
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    for address in (model / "model", "models:/tiny@champion", "models:/tiny/1"):
        loaded = cascade_clip.Predictor.load(address, device="cpu")
        assert isinstance(loaded, cascade_clip.Predictor) and loaded.identity == expected.identity
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store / 'mlruns' / 'mlflow.db'}")
    predicted = cascade_clip.Predictor.load("models:/tiny/1", device="cpu").predict(_picture(), LABELS)
    assert isinstance(predicted, cascade_clip.Prediction)
    assert np.array_equal(predicted.label_map, expected.predict(_picture(), LABELS).label_map)
    with pytest.raises(
        cascade_clip.UserError, match=r"'models:/nobody@champion' cannot be downloaded.*MLFLOW"
    ):
        cascade_clip.Predictor.load("models:/nobody@champion")


def test_load_returns_the_network_and_its_manifest(model: Path) -> None:
    for folder in (model / "final", model / "model"):
        segmentor, manifest = cascade_clip.load(folder)
        assert isinstance(segmentor, cascade_clip.Segmentor) and not segmentor.training
        assert manifest.config == tiny_config()
    pictures, vectors = torch.zeros(1, 3, 32, 32), torch.nn.functional.normalize(torch.ones(5, 16), dim=1)
    with torch.no_grad():
        assert segmentor(pictures, vectors).shape[:2] == (1, 5)


def test_scores_are_those_of_the_evaluate_step() -> None:
    scores = cascade_clip.evaluate(STORED / "model_folder", STORED / "prepared", device="cpu")
    expected = read_json(STORED / "evaluate" / "inductive" / "scores.json")
    for name in ("pAcc", "miou_seen", "miou_unseen", "hiou"):
        assert getattr(scores, name) == pytest.approx(expected[name], abs=2e-3)
    with pytest.raises(cascade_clip.UserError, match="split 'tset' has no pictures"):
        cascade_clip.evaluate(STORED / "model_folder", STORED / "prepared", split="tset")


def test_a_recipe_is_a_complete_run() -> None:
    assert cascade_clip.recipe("cascade_voc12", {"train.iterations": 7}).train.iterations == 7
    assert "cascade_voc12" in cascade_clip.recipe_names()


def test_code_in_registered_versions_imports_cascade_clip_only() -> None:
    file = ROOT / "components" / "registry" / "registered_model.py"
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(file.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported & {"cascade_clip", "cascade_core", "components", "pipelines"} == {"cascade_clip"}
