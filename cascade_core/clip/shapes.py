"""A CLIP's configuration, read off the shapes of its weights in the key layout of OpenAI and open_clip."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from cascade_core.configs.config import ClipConfig
from cascade_core.configs.settings import Activation
from cascade_core.errors import UserError

HEAD_WIDTH = 64
"""Width of an attention head in all of OpenAI's CLIPs. Some others have wider heads, which shapes do not show."""


def clip_config(
    weights: Mapping[str, Tensor], *, name: str, activation: Activation, head_width: int = HEAD_WIDTH
) -> ClipConfig:
    """Read the configuration of a CLIP with a ViT as image tower.

    Args:
        weights: tensors in OpenAI's key layout.
        name: the configuration's name.
        activation: not visible in shapes.
        head_width: width of the image tower's heads, not visible in shapes; the text tower's is always 64.

    Raises:
        UserError: weights that every such CLIP has are missing or contradict each other; the message names one.
    """

    def shape(key: str, ndim: int) -> torch.Size:
        if key not in weights:
            raise UserError(
                f"weights lack {key!r}: they are no CLIP in OpenAI's layout with a ViT as image tower "
                f"({_guess(weights)})"
            )
        if weights[key].ndim != ndim:
            raise UserError(f"weights do not fit: {key} has shape {tuple(weights[key].shape)}")
        return weights[key].shape

    width, _, patch_size, _ = shape("visual.conv1.weight", 4)
    slots = shape("visual.positional_embedding", 2)[0]
    side = round((slots - 1) ** 0.5)
    if side * side != slots - 1:
        raise UserError(f"weights do not fit: a position table of {slots} slots is not 1 + a square")
    vocab_size, text_width = shape("token_embedding.weight", 2)
    return ClipConfig(
        name=name,
        image_size=side * patch_size,
        patch_size=patch_size,
        width=width,
        layers=_blocks(weights, "visual.transformer"),
        heads=_heads(width, head_width, "image"),
        embed_dim=shape("visual.proj", 2)[1],
        text_width=text_width,
        text_layers=_blocks(weights, "transformer"),
        text_heads=_heads(text_width, HEAD_WIDTH, "text"),
        context_length=shape("positional_embedding", 2)[0],
        vocab_size=vocab_size,
        activation=activation,
    )


def _blocks(weights: Mapping[str, Tensor], tower: str) -> int:
    pattern = rf"{re.escape(tower)}\.resblocks\.(\d+)\."
    indices = [int(match[1]) for key in weights if (match := re.match(pattern, key))]
    if not indices:
        raise UserError(f"weights lack '{tower}.resblocks.0.*': they are no CLIP in OpenAI's layout")
    return max(indices) + 1


def _heads(width: int, head_width: int, tower: str) -> int:
    if width % head_width:
        raise UserError(
            f"the {tower} tower's width {width} is no multiple of {head_width}, the usual width of a head, and shapes "
            "do not show another: give the CLIP by open_clip's name, or a folder with open_clip_config.json"
        )
    return width // head_width


def _guess(weights: Mapping[str, Tensor]) -> str:
    """Say of which other kind weights probably are, for the error that refuses them."""
    if any(key.startswith(("vision_model.", "text_model.")) for key in weights):
        return "they are in the layout of Hugging Face transformers; take the file that open_clip publishes"
    if any(key.startswith("visual.layer1.") for key in weights):
        return "their image tower is a ResNet"
    if any(key.startswith("visual.trunk.") for key in weights):
        return "their image tower is of the timm package"
    return f"they have {', '.join(sorted(weights)[:3])}"
