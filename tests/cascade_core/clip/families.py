"""Small CLIPs of each published family, with the same layout and activation but few weights."""

import torch
from torch import Tensor

from cascade_core.configs.config import ClipConfig
from tests.cascade_core.clip.reference import open_clip_model

VIT_B16 = ClipConfig(
    name="ViT-B-16 in small",
    image_size=64,
    patch_size=16,
    width=64,
    layers=3,
    heads=1,
    embed_dim=32,
    text_width=64,
    text_layers=2,
    text_heads=1,
    context_length=9,
    vocab_size=40,
)
VIT_B32 = VIT_B16.model_copy(update={"name": "ViT-B-32 in small", "patch_size": 32, "image_size": 96})
VIT_L14 = VIT_B16.model_copy(
    update={
        "name": "ViT-L-14 in small",
        "patch_size": 14,
        "image_size": 56,
        "width": 128,
        "heads": 2,
        "layers": 6,
        "embed_dim": 48,
    }
)
VIT_H14 = VIT_L14.model_copy(update={"name": "ViT-H-14 in small", "width": 160, "activation": "gelu"})
"""Its heads have width 80, which shapes do not show."""

FAMILIES = (
    VIT_B16,
    VIT_B32,
    VIT_L14,
    VIT_H14,
    VIT_B32.model_copy(update={"activation": "gelu", "name": "ViT-B-32 of LAION in small"}),
)


def random_weights(config: ClipConfig) -> dict[str, Tensor]:
    """Return the state dict of open_clip's model of a configuration, with random norms and biases too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        state = open_clip_model(config).state_dict()
        return {
            key: tensor + 0.1 * torch.randn_like(tensor) if key != "attn_mask" else tensor
            for key, tensor in state.items()
        }
