"""Checkpoints without CLIP's frozen tower: joined again, every byte is that of the training's file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cascade_core.checkpoints.checkpoint import load_segmentor
from cascade_core.checkpoints.frozen_tower import (
    REFERENCE_FILE,
    join_tower,
    lacks_tower,
    leave_out_tower,
    read_reference,
)
from cascade_core.checkpoints.manifest import MODEL_FILE
from cascade_core.checkpoints.model_folder import CHECKPOINT, write_model_folder
from cascade_core.clip.weights import load_clip
from cascade_core.configs.changes import with_overrides
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json, sha256, write_json
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

ADDRESS = "s3://bucket/clip"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A CLIP; the fixture `checkpoint` is around its tower."""
    tower = write_tiny_clip(tmp_path / "clip")
    write_tiny_checkpoint(tmp_path / "final", tower, tiny_config())
    return tmp_path / "clip"


@pytest.fixture
def checkpoint(clip: Path) -> Path:
    return clip.with_name("final")


def test_a_joined_checkpoint_has_the_bytes_of_the_whole(checkpoint: Path, clip: Path, tmp_path: Path) -> None:
    whole, keys = sha256(checkpoint), set(load_file(checkpoint / MODEL_FILE))
    size = (checkpoint / MODEL_FILE).stat().st_size
    leave_out_tower(checkpoint, clip, address=ADDRESS)
    kept = load_file(checkpoint / MODEL_FILE)
    assert set(kept) | set(read_reference(checkpoint).tensors) == keys
    assert any(key.startswith("decoder.") for key in kept)
    assert (checkpoint / MODEL_FILE).stat().st_size < size
    assert read_reference(checkpoint).clip == ADDRESS
    join_tower(checkpoint, clip, tmp_path / "joined")
    assert sha256(tmp_path / "joined") == whole
    assert not lacks_tower(tmp_path / "joined")
    segmentor, _ = load_segmentor(tmp_path / "joined")
    assert set(segmentor.state_dict()) == keys


def test_a_tuned_checkpoint_leaves_out_both_towers(clip: Path, tmp_path: Path) -> None:
    config, folder = tiny_config(), tmp_path / "tuned"
    changes = {
        "model.fusion": "none",
        "model.groups": [],
        "model.decoder": "cost_aggregation",
        "model.cost": {"width": 8, "window": 2, "guide_blocks": (0, 2)},
        "model.tuned": "queries_values",
        "model.text": "tokens",
        "evaluate.seen_penalty": 0.0,
        "self_train.strict_seen_penalty": 0.0,
    }
    write_tiny_checkpoint(folder, load_clip(clip)[0], with_overrides(config, changes))
    whole, keys = sha256(folder), set(load_file(folder / MODEL_FILE))
    leave_out_tower(folder, clip, address=ADDRESS)
    kept = {name for name in load_file(folder / MODEL_FILE) if name.startswith(("trunk.visual.", "text."))}
    assert kept and {name.rpartition(".")[2] for name in kept} == {"query_weight", "value_weight"}
    assert any(name.startswith("text.") for name in keys - kept)
    join_tower(folder, clip, tmp_path / "joined")
    assert sha256(tmp_path / "joined") == whole


def test_weights_that_differ_from_clips_stay(checkpoint: Path, clip: Path, tmp_path: Path) -> None:
    weights = load_file(checkpoint / MODEL_FILE)
    changed = next(key for key in weights if key.startswith("trunk.visual.") and weights[key].ndim > 1)
    save_file({**weights, changed: weights[changed] + 1}, checkpoint / MODEL_FILE)
    whole = sha256(checkpoint)
    leave_out_tower(checkpoint, clip, address=ADDRESS)
    assert changed in load_file(checkpoint / MODEL_FILE)
    join_tower(checkpoint, clip, tmp_path / "joined")
    assert sha256(tmp_path / "joined") == whole


def test_a_checkpoint_of_another_tower_stays_whole(checkpoint: Path, clip: Path) -> None:
    weights = load_file(clip / MODEL_FILE)
    save_file({key: tensor.half() for key, tensor in weights.items()}, clip / MODEL_FILE)
    whole = sha256(checkpoint)
    leave_out_tower(checkpoint, clip, address=ADDRESS)
    assert sha256(checkpoint) == whole and not lacks_tower(checkpoint)


def test_another_clip_than_that_of_the_training_is_refused(
    checkpoint: Path, clip: Path, tmp_path: Path
) -> None:
    leave_out_tower(checkpoint, clip, address=ADDRESS)
    weights = load_file(clip / MODEL_FILE)
    save_file({key: tensor + 1 for key, tensor in weights.items()}, clip / MODEL_FILE)
    with pytest.raises(UserError, match=r"frozen weights of CLIP in s3://bucket/clip, but .* other weights"):
        join_tower(checkpoint, clip, tmp_path / "joined")
    shutil.rmtree(clip)
    with pytest.raises(UserError, match="other weights"):
        join_tower(checkpoint, clip, tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_a_checkpoint_without_its_tower_says_how_to_join_it(
    checkpoint: Path, clip: Path, tmp_path: Path
) -> None:
    whole = sha256(checkpoint / MODEL_FILE)
    leave_out_tower(checkpoint, clip, address=ADDRESS)
    with pytest.raises(UserError, match=r"join them by `cascade-clip export .* --clip CLIP --format folder"):
        load_segmentor(checkpoint)
    write_model_folder(checkpoint, clip, tmp_path / "model")
    assert sha256(tmp_path / "model" / CHECKPOINT / MODEL_FILE) == whole
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "checkpoint", "text_tower", "manifest.json"
    }  # fmt: skip


def _cut(checkpoint: Path) -> None:
    content = (checkpoint / MODEL_FILE).read_bytes()
    (checkpoint / MODEL_FILE).write_bytes(content[:-9])


def _other_tensors(checkpoint: Path) -> None:
    save_file({"decoder.none": torch.zeros(2)}, checkpoint / MODEL_FILE)


def _other_values(checkpoint: Path) -> None:
    weights = load_file(checkpoint / MODEL_FILE)
    save_file({key: torch.zeros_like(tensor) for key, tensor in weights.items()}, checkpoint / MODEL_FILE)


def _long_header(checkpoint: Path) -> None:
    (checkpoint / MODEL_FILE).write_bytes((2**62).to_bytes(8, "little") + b"{}")


def _reference(**changes: object) -> Callable[[Path], None]:
    def damage(checkpoint: Path) -> None:
        content = read_json(checkpoint / REFERENCE_FILE)
        write_json(checkpoint / REFERENCE_FILE, {**content, **changes})

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _other_tensors,
        _other_values,
        _long_header,
        _reference(header="{"),
        _reference(header=json.dumps({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}})),
        _reference(tensors=["trunk.visual.none"]),
        _reference(format=99),
    ],
)
def test_a_damaged_checkpoint_is_refused(
    checkpoint: Path, clip: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    leave_out_tower(checkpoint, clip, address=ADDRESS)
    damage(checkpoint)
    with pytest.raises(UserError):
        join_tower(checkpoint, clip, tmp_path / "joined")
    assert not (tmp_path / "joined").exists()
