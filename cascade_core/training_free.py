"""Models made of CLIP alone: a training-free method around its image tower, without a checkpoint of a training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cascade_core.checkpoints.checkpoint import write_checkpoint
from cascade_core.checkpoints.model_folder import CHECKPOINT, TEXT_TOWER
from cascade_core.checkpoints.without_training import training_free_model
from cascade_core.clip.weights import ClipModel, copy_text_tower, load_clip, save_text_half
from cascade_core.configs.backbones import MINI_CLIP
from cascade_core.configs.changes import with_overrides
from cascade_core.configs.config import RunConfig
from cascade_core.configs.recipes import recipe
from cascade_core.configs.training_free import LAST_BLOCKS, check_changes, training_free
from cascade_core.predictor import Predictor, device_named
from cascade_core.runtime.listing import by_name


def training_free_config(
    method: str, clip: ClipModel, *, protocol: str | None = None, overrides: Mapping[str, Any] | None = None
) -> RunConfig:
    """Return the configuration of a method on a CLIP: the mini benchmark's for its CLIP, else the published one.

    Dotted `overrides`, such as `model.temperature`, replace its values.

    Raises:
        UserError: the method, the protocol or an override's key is unknown, or an override asks for weights to train
            or changes what the model does not read.
    """
    check_method(method)
    mini = clip.config.name == MINI_CLIP.name
    config = recipe(f"mini_{method}") if mini else training_free(method, clip.config)
    changes: dict[str, Any] = {"model.clip": clip.config.model_dump()}
    if protocol is not None:
        changes["data.protocol"] = protocol
    changed = with_overrides(config, {**changes, **(overrides or {})})
    check_changes(overrides or (), changed)
    return changed


def check_method(method: str | None) -> None:
    """Check that a method, if there is one, is training-free; UserError names those that are."""
    if method is not None:
        by_name(method, LAST_BLOCKS, kind="training-free method")


def write_training_free(
    folder: Path, clip: ClipModel, config: RunConfig, *, text: Path | None = None
) -> None:
    """Write the content of a model folder, a checkpoint and a text tower, into an existing folder.

    The text tower is copied from the CLIP folder `text`, with its vocabulary; None writes that of `clip`.
    """
    segmentor, manifest = training_free_model(clip.visual, config)
    (folder / CHECKPOINT).mkdir()
    write_checkpoint(folder / CHECKPOINT, segmentor, manifest)
    if text is None:
        save_text_half(folder / TEXT_TOWER, clip)
    else:
        copy_text_tower(text, folder / TEXT_TOWER)


def training_free_predictor(
    clip_folder: Path, method: str, *, device: str | torch.device | None = None
) -> Predictor:
    """Return a predictor straight from a CLIP folder.

    Raises:
        UserError: the folder holds no CLIP, the method is unknown, or the device does not exist.
    """
    target = device_named(device)
    clip, tokenizer = load_clip(clip_folder)
    segmentor, manifest = training_free_model(clip.visual, training_free_config(method, clip))
    return Predictor.of(segmentor, manifest, clip.text, tokenizer, device=target)
