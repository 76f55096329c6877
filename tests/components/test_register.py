"""Registering: versions, the champion's alias, and a model that loads and predicts without pickle."""

import io
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image

from cascade_core.files import read_json, write_json
from cascade_core.predict import Segmenter
from components import register, registered_model
from components.artifacts import read_step_manifest
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

NAME = "mini-18-6-cascade_clip"
LABELS = ["zebra", "tiger", "sand"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the tests' own, a CLIP and a checkpoint."""
    folder = tmp_path_factory.mktemp("registry")
    clip = write_tiny_clip(folder / "clip")
    write_tiny_checkpoint(folder / "final", clip, tiny_config())
    write_json(
        folder / "profile" / "profile.json",
        {"method": "cascade_clip", "trainable_params": 1234, "gmacs": 0.5, "images_per_second": 10.0},
    )
    return folder


@pytest.fixture(autouse=True)
def _store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for variable in ("MLFLOW_TRACKING_URI", "CASCADE_TRACKING"):
        monkeypatch.delenv(variable, raising=False)


def _evaluation(folder: Path, **changes: object) -> Path:
    scores = {
        "method": "cascade_clip",
        "setting": "inductive",
        "split": "test",
        "protocol": "mini-18-6",
        "seed": 0,
        "pAcc": 0.8,
        "miou_seen": 0.6,
        "miou_unseen": 0.4,
        "hiou": 0.48,
    }
    write_json(folder / "scores.json", scores | changes)
    return folder


def _register(folder: Path, scratch: Path, name: str, **scores: object) -> register.Registered:
    return register.run(
        checkpoint=folder / "final",
        clip=folder / "clip",
        evaluation=_evaluation(scratch / "evaluation", **scores),
        profile=folder / "profile",
        out=scratch / "out",
        name=name,
    )


def test_the_champion_loads_by_alias_and_segments_any_names(folder: Path, tmp_path: Path) -> None:
    registered = register.run(
        checkpoint=folder / "final",
        clip=folder / "clip",
        evaluation=_evaluation(tmp_path / "evaluation"),
        profile=folder / "profile",
        out=tmp_path / "out",
    )
    assert registered == register.Registered(NAME, 1, champion=True)
    assert read_json(tmp_path / "out" / "model.json")["uri"] == f"models:/{NAME}/1"
    assert read_step_manifest(tmp_path / "out").step == "register"

    picture = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(picture).save(content, format="PNG")
    model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    request = registered_model.request(content.getvalue(), LABELS)
    predicted = model.predict([request, {**request, "labels": LABELS[:2]}])

    segmenter = Segmenter.load(folder / "final", folder / "clip", device=torch.device("cpu"))
    assert np.array_equal(predicted[0]["label_map"], segmenter.segment(picture, LABELS).label_map)
    assert [row["labels"] for row in predicted] == [LABELS, LABELS[:2]]


def test_a_version_says_what_it_is_and_holds_no_pickle(folder: Path, tmp_path: Path) -> None:
    registered = _register(folder, tmp_path, "described")
    client = MlflowClient()
    version = client.get_model_version("described", str(registered.version))
    assert version.tags["setting"] == "inductive"
    assert version.tags["hiou"] == "0.48"
    assert version.tags["data_hash"] == "0" * 64
    assert version.tags["git_commit"]
    stored = Path(mlflow.artifacts.download_artifacts(registered.uri))
    # Python leaves bytecode beside the model's own file when the model is loaded from the local store.
    files = [path for path in stored.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    suffixes = {path.suffix for path in files}
    assert suffixes <= {".safetensors", ".json", ".py", ".yaml", ".txt", ""}


@pytest.mark.parametrize(
    ("second", "becomes_champion"),
    [
        ({"hiou": 0.5}, True),
        ({"hiou": 0.48}, True),
        ({"hiou": 0.4}, False),
        ({"hiou": 0.9, "split": "val"}, False),
    ],
)
def test_a_champion_is_followed_by_an_equal_or_better_one_on_the_same_split(
    second: dict[str, object], becomes_champion: bool, folder: Path, tmp_path: Path
) -> None:
    name = f"gate-{'-'.join(str(value) for value in second.values())}".replace(".", "_")
    assert _register(folder, tmp_path, name).champion
    registered = _register(folder, tmp_path, name, **second)
    assert registered == register.Registered(name, 2, champion=becomes_champion)
    champion = MlflowClient().get_model_version_by_alias(name, "champion")
    assert champion.version == (2 if becomes_champion else 1)


def test_an_evaluation_of_another_run_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"scores\.json: seed is 7, the checkpoint's is 0"):
        _register(folder, tmp_path, "refused", seed=7)
    assert not (tmp_path / "out").exists()


def test_registering_without_tracking_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADE_TRACKING", "off")
    with pytest.raises(ValueError, match="CASCADE_TRACKING=off"):
        _register(folder, tmp_path, "off")


def test_a_request_that_is_no_picture_names_its_row(folder: Path, tmp_path: Path) -> None:
    model = mlflow.pyfunc.load_model(_register(folder, tmp_path, "requests").uri)
    with pytest.raises(ValueError, match="row 0: image is not base64"):
        model.predict({"image": "%%%", "labels": LABELS})
