"""The start of an inductive training: the classes of the split, and CLIP's image tower or a random one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cascade_core.clip.text import TextTransformer
from cascade_core.clip.vision import VisionTransformer
from cascade_core.clip.weights import load_clip
from cascade_core.configs.backbones import same_tower
from cascade_core.configs.config import RunConfig
from cascade_core.errors import UserError
from components.inputs.split import read_split


def with_own_label_file(overrides: Mapping[str, Any], splits: Path) -> Mapping[str, Any]:
    """Add the label file of the split to the overrides, unless they name a protocol.

    Raises:
        UserError: the protocol counts background as a class.
    """
    split = read_split(splits)
    if split.label_set.has_background:
        raise UserError(
            f"{splits}: protocol {split.name!r} counts background as a class, which has no name to train with; "
            "train on a protocol without background, and evaluate with a background policy"
        )
    return overrides if split.own is None else {"data.protocol": split.own, **overrides}


def towers(config: RunConfig, clip: Path | None) -> tuple[VisionTransformer, TextTransformer | None]:
    """Return CLIP's image tower from its folder, or without a folder a random one; and the text tower, if the model has one.

    Raises:
        UserError: the folder holds another CLIP than the recipe's.
    """
    if clip is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            return VisionTransformer(config.model.clip), None
    model = load_clip(clip)[0]
    tower = model.visual
    ours, theirs = config.model.clip, tower.config
    if not same_tower(ours, theirs):
        raise UserError(
            f"CLIP in {clip} is {theirs.name!r} (width {theirs.width}, {theirs.layers} blocks), recipe "
            f"{config.recipe!r} wants {ours.name!r} (width {ours.width}, {ours.layers} blocks); "
            "give the folder of that CLIP, or change the recipe's CLIP, such as --set clip=ViT-L-14"
        )
    return tower, model.text if config.model.text == "tokens" else None
