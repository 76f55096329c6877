"""A predictor by the address of a registered model, and from folders."""

from pathlib import Path

import numpy as np
import pytest

from cascade_core.checkpoints.model_folder import write_model_folder
from cascade_core.predictor import Predictor
from components.registry.addresses import clip_for, load_predictor
from components.tracking.store import open_store
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

LABELS = ["zebra", "tiger", "sand"]


def test_a_registered_model_segments_as_its_checkpoint_does(store: Path, tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path / "final", write_tiny_clip(tmp_path / "clip"), tiny_config())
    write_model_folder(tmp_path / "final", tmp_path / "clip", tmp_path / "logged" / "artifacts")
    client = open_store()
    client.create_registered_model("tiny")
    client.create_model_version("tiny", (tmp_path / "logged").as_uri())
    client.set_registered_model_alias("tiny", "champion", "1")
    picture = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)

    registered = load_predictor("models:/tiny@champion", device="cpu")
    plain = Predictor.load(tmp_path / "final", tmp_path / "clip", device="cpu")

    assert isinstance(registered, Predictor)
    assert registered.identity == plain.identity
    assert np.array_equal(
        registered.predict(picture, LABELS).label_map, plain.predict(picture, LABELS).label_map
    )


def test_an_unregistered_model_is_reported_with_the_store(store: Path) -> None:
    with pytest.raises(
        ValueError, match=r"'models:/nobody@champion' of the store at sqlite.* cannot be read"
    ):
        load_predictor("models:/nobody@champion")


def test_a_checkpoint_takes_the_clip_of_its_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path / "home"))
    (tmp_path / "model" / "checkpoint").mkdir(parents=True)
    write_tiny_checkpoint(tmp_path / "final", write_tiny_clip(tmp_path / "clip"), tiny_config())
    assert clip_for("models:/tiny/1", None) is None
    assert clip_for(str(tmp_path / "model"), None) is None
    assert clip_for(str(tmp_path / "model"), Path("other")) == Path("other")
    with pytest.raises(ValueError, match="was trained with CLIP 'tiny', which is not in .*give its folder"):
        clip_for(str(tmp_path / "final"), None)
    (tmp_path / "home" / "clip" / "tiny").mkdir(parents=True)
    assert clip_for(str(tmp_path / "final"), None) == tmp_path / "home" / "clip" / "tiny"
