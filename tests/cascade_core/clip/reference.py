"""Comparison of our towers with open_clip's, given the same weights."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_core.clip.vision import resize_position_grid
from cascade_core.clip.weights import ClipModel
from cascade_core.configs.model import ClipConfig


def open_clip_model(config: ClipConfig, *, image_size: int | None = None) -> Any:
    """Build open_clip's model with random weights; `image_size` defaults to the configuration's."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    vision = CLIPVisionCfg(
        layers=config.layers,
        width=config.width,
        head_width=config.width // config.heads,
        patch_size=config.patch_size,
        image_size=image_size or config.image_size,
        mlp_ratio=(config.image_feedforward or 4 * config.width) / config.width,
    )
    text = CLIPTextCfg(
        context_length=config.context_length,
        vocab_size=config.vocab_size,
        width=config.text_width,
        heads=config.text_heads,
        layers=config.text_layers,
    )
    return CLIP(config.embed_dim, vision, text, quick_gelu=config.activation == "quick_gelu").eval()


@torch.no_grad()
def differences(
    clip: ClipModel, weights: Mapping[str, Tensor], *, image_sizes: tuple[int, ...] = ()
) -> dict[str, float]:
    """Return the largest differences from open_clip's unit vectors, for pictures of each size and for texts.

    `weights` are the weights of `clip` in OpenAI's layout. Sizes default to the pretraining size; at other sizes
    both models use the position grid of `resize_position_grid`. Inputs are noise from a fixed seed.
    """
    config, generator = clip.config, torch.Generator().manual_seed(0)
    largest = {}
    for size in image_sizes or (config.image_size,):
        theirs = _loaded(config, weights, size)
        images = torch.randn(1, 3, size, size, generator=generator)
        largest[f"pictures of {size}"] = _largest(
            clip.visual.encode_image(images), theirs.encode_image(images)
        )
    tokens = torch.randint(1, config.vocab_size - 1, (2, config.context_length), generator=generator)
    tokens[:, -1] = config.vocab_size - 1
    largest["texts"] = _largest(clip.text.encode_text(tokens), theirs.encode_text(tokens))
    return largest


def _loaded(config: ClipConfig, weights: Mapping[str, Tensor], size: int) -> Any:
    theirs = open_clip_model(config, image_size=size)
    side = size // config.patch_size
    positions = resize_position_grid(weights["visual.positional_embedding"].float(), side, side)
    state = {key: weights[key].float() for key in theirs.state_dict() if key in weights}
    theirs.load_state_dict({**state, "visual.positional_embedding": positions}, strict=True)
    return theirs


def _largest(ours: Tensor, theirs: Tensor) -> float:
    return (F.normalize(ours, dim=-1) - F.normalize(theirs, dim=-1)).abs().max().item()
