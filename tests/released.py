"""Files as the authors' code saves them, from the key lists of the golden set: at full size by shape, or small with values."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cascade_core.released.weights import CLASS_WEIGHT_BUFFER, TEXT_PREFIX

KEYS = Path(__file__).parent / "golden" / "keys"

SMALL = {768: 64, 2304: 192, 3072: 256, 512: 64, 1536: 192, 1024: 128, 2048: 256, 1025: 5}
"""Sizes of ViT-B/16 and of what stands on it, and those of a model 64 wide for pictures of 32 pixels."""


def released_shapes(name: str, *, num_fed: int | None = None) -> dict[str, Tensor]:
    """Give the state dict of a released checkpoint, such as `zeg_voc`, without any values."""
    recorded = json.loads((KEYS / f"keys_{name}.json").read_text())["state_dict"]
    state = {key: torch.empty(shape, device="meta") for key, (shape, _) in recorded.items()}
    if num_fed is not None:
        state[CLASS_WEIGHT_BUFFER] = torch.empty(num_fed + 1, device="meta")
    return state


def small_released(name: str, *, num_fed: int, text: bool = True) -> dict[str, Tensor]:
    """Give random values under the keys of a released checkpoint, in a model small enough to run."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, tensor in released_shapes(name).items():
        if text or not key.startswith(TEXT_PREFIX):
            shape = [SMALL.get(size, size) for size in tensor.shape]
            state[key] = 0.2 * torch.randn(shape, generator=generator)
    return {**state, CLASS_WEIGHT_BUFFER: torch.ones(num_fed + 1)}


def write_released(
    path: Path, state: Mapping[str, Tensor], *, meta: Mapping[str, Any] | None = None, prefix: str = ""
) -> Path:
    """Write a state dict as the authors' training script does, with notes and the optimiser's state."""
    weights = {prefix + key: tensor for key, tensor in state.items()}
    moments = {index: {"exp_avg": torch.ones(3)} for index in range(4)}
    notes = {"mmcv_version": "1.5.0", "time": "Mon Feb  6 12:00:00 2023", **(meta or {})}
    torch.save({"meta": notes, "state_dict": weights, "optimizer": {"state": moments}}, path)
    return path
