"""A small segmentor configuration shared by the model's tests."""

from typing import Any

import torch

from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.model import ClipConfig, ModelConfig
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor

CLIP = ClipConfig(
    name="small",
    image_size=24,
    patch_size=8,
    width=16,
    layers=4,
    heads=2,
    embed_dim=12,
    text_width=8,
    text_layers=1,
    text_heads=1,
    context_length=5,
    vocab_size=9,
)


def config(**changes: Any) -> ModelConfig:
    """A ZegCLIP on 32x32 pixels, with `changes`."""
    return ModelConfig(**{"clip": CLIP, "image_size": 32, "num_prompts": 3, "decoder_heads": 3, **changes})


def visual(seed: int = 0) -> VisionTransformer:
    """A random image tower, norms and biases included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = VisionTransformer(CLIP)
        with torch.no_grad():
            for parameter in tower.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return tower


def segmentor(seed: int = 1, **changes: Any) -> Segmentor:
    """Build a segmentor around `visual()`, in evaluation mode."""
    return build_segmentor(config(**changes), visual(), seed=seed).eval()


CASCADE = {"fusion": "cascade", "groups": ((0, 1), (2,))}
NAIVE = {"fusion": "naive", "groups": ((0, 1), (2,))}
