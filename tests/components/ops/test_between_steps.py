"""Trainings between the steps of a pipeline: their parts, and the joined checkpoints that steps read."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from cascade_core.checkpoints.frozen_tower import lacks_tower
from cascade_core.checkpoints.manifest import MODEL_FILE
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json, sha256
from components.artifacts.manifest import TRACKING_FILE, input_hash, write_manifest
from components.bodies.between_steps import Clip, clip_of, hand_on, is_at_hand, whole_checkpoints
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip


def training_in(tmp_path: Path) -> Path:
    """Write a CLIP and a training that starts from it, with a record for MLflow that waits."""
    training, tower = tmp_path / "trained", write_tiny_clip(tmp_path / "clip")
    for name in ("final", "half"):
        write_tiny_checkpoint(training / name, tower, tiny_config())
    (training / "history.csv").write_text("iteration,loss\n1,0.5\n")
    (training / TRACKING_FILE).write_text("{}")
    write_manifest(training, step="train", inputs={}, parameters={})
    return training


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_training_becomes_artifacts_for_its_parts(tmp_path: Path) -> None:
    training = training_in(tmp_path)
    size = (training / "final" / MODEL_FILE).stat().st_size
    parts = {"half": tmp_path / "half", "training": tmp_path / "training"}
    hand_on(training, parts, Clip(tmp_path / "clip", str(tmp_path / "clip")))
    checkpoint = {"manifest.json", "part.json"}
    assert files(training) == checkpoint | {
        f"final/{name}" for name in (MODEL_FILE, "manifest.json", "frozen_tower.json")
    }
    assert files(parts["half"]) == checkpoint | {
        f"half/{name}" for name in (MODEL_FILE, "manifest.json", "frozen_tower.json")
    }
    assert files(parts["training"]) == checkpoint | {"history.csv", "final/manifest.json", TRACKING_FILE}
    assert (training / "final" / MODEL_FILE).stat().st_size < size


def test_later_steps_read_what_the_training_wrote(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    training = training_in(tmp_path)
    whole = {name: sha256(training / name) for name in ("final", "half")}
    content = read_json(training / "manifest.json")["content_sha256"]
    parts = {"half": tmp_path / "half", "training": tmp_path / "training"}
    hand_on(training, parts, Clip(tmp_path / "clip", str(tmp_path / "clip")))
    joined = {
        "final": whole_checkpoints(training, tmp_path / "scratch" / "trained"),
        "half": whole_checkpoints(parts["half"], tmp_path / "scratch" / "half"),
    }
    assert {name: sha256(folder / name) for name, folder in joined.items()} == whole
    for folder in (*joined.values(), parts["training"]):
        assert input_hash(folder) == content
    assert not caplog.records
    assert lacks_tower(training / "final")  # the artifact itself stays as it is


def test_a_continued_training_leaves_out_the_same_tower(tmp_path: Path) -> None:
    training, address = training_in(tmp_path), str(tmp_path / "clip")
    hand_on(training, {"training": tmp_path / "training"}, Clip(tmp_path / "clip", address))
    assert clip_of([training]) == Clip(tmp_path / "clip", address)
    assert clip_of([tmp_path / "training"]) is None


def test_a_clip_that_every_pod_would_fetch_is_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CASCADE_CACHE", raising=False)
    assert is_at_hand("/data/clip") and not is_at_hand("s3://bucket/clip")
    monkeypatch.setenv("CASCADE_CACHE", "/data/cache")
    assert is_at_hand("s3://bucket/clip")


def test_a_training_without_clip_stays_whole(tmp_path: Path) -> None:
    training = training_in(tmp_path)
    whole = sha256(training / "final")
    hand_on(training, {"training": tmp_path / "training"}, None)
    assert sha256(training / "final") == whole
    assert whole_checkpoints(training, tmp_path / "scratch") == training


def test_a_step_with_another_clip_is_refused(tmp_path: Path) -> None:
    training, clip = training_in(tmp_path), tmp_path / "clip"
    hand_on(training, {"training": tmp_path / "training"}, Clip(clip, str(clip)))
    weights = load_file(clip / MODEL_FILE)
    save_file({key: tensor + 1 for key, tensor in weights.items()}, clip / MODEL_FILE)
    with pytest.raises(UserError, match="holds other weights now"):
        whole_checkpoints(training, tmp_path / "scratch")


def test_a_training_without_a_half_way_checkpoint_is_handed_on(tmp_path: Path) -> None:
    training = training_in(tmp_path)
    shutil.rmtree(training / "half")
    whole = sha256(training / "final")
    parts = {"half": tmp_path / "half", "training": tmp_path / "training"}
    hand_on(training, parts, Clip(tmp_path / "clip", str(tmp_path / "clip")))
    assert files(parts["half"]) == {"manifest.json", "part.json"}
    assert sha256(whole_checkpoints(training, tmp_path / "scratch") / "final") == whole
