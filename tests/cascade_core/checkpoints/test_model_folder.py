"""Model folders: half precision gives nearly the same label maps in half the space."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cascade_core.checkpoints.model_folder import CHECKPOINT, TEXT_TOWER, write_model_folder
from cascade_core.clip.weights import copy_text_tower
from cascade_core.errors import UserError
from cascade_core.predictor import Predictor
from cascade_core.runtime.tensors import write_half
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

LABELS = ["zebra", "tiger", "sand"]


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder with a checkpoint `final` and its `clip`."""
    write_tiny_checkpoint(tmp_path / "final", write_tiny_clip(tmp_path / "clip"), tiny_config())
    return tmp_path


def test_half_precision_labels_99_of_100_pixels_alike(trained: Path) -> None:
    models = []
    for half in (False, True):
        folder = trained / f"half_{half}"
        write_model_folder(trained / "final", trained / "clip", folder, half=half)
        models.append(Predictor.load(folder, device="cpu"))
    picture = np.random.default_rng(3).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    full, half = (model.predict(picture, LABELS).label_map for model in models)
    assert len(np.unique(full)) > 1  # a constant map would hide any difference
    assert (full == half).mean() >= 0.99
    assert all(weight.dtype == torch.float32 for weight in models[1].segmentor.state_dict().values())


def test_half_precision_takes_half_the_space(trained: Path) -> None:
    sizes = []
    for half in (False, True):
        folder = trained / f"half_{half}"
        write_model_folder(trained / "final", trained / "clip", folder, half=half)
        files = [folder / part / "model.safetensors" for part in (CHECKPOINT, TEXT_TOWER)]
        sizes.append(sum(tensor.nbytes for file in files for tensor in load_file(file).values()))
    assert sizes[1] * 2 == sizes[0]


def test_a_weight_too_large_for_half_precision_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"half precision, whose largest number is 65504 \(large\)"):
        write_half({"small": torch.ones(2), "large": torch.tensor([1e5])}, tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()
    copy_text_tower(trained / "clip", trained / "text", half=True)
    assert load_file(trained / "text" / "model.safetensors")["text.text_projection"].dtype == torch.float16


def test_a_count_stays_whole_in_half_precision(tmp_path: Path) -> None:
    write_half({"steps": torch.tensor([70000])}, tmp_path / "w.safetensors")
    assert load_file(tmp_path / "w.safetensors")["steps"].tolist() == [70000]
