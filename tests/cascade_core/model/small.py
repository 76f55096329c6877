"""A small segmentor configuration shared by the model's tests."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.cat_seg import LAST_BLOCK
from cascade_core.configs.model import ClipConfig, CostAggregation, ModelConfig
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
SPT_SEG: dict[str, Any] = {"trunk": "spectral_prompts", "decoder": "two_frequency"}
TRANSPORT: dict[str, Any] = {"decoder": "optimal_transport", "text": "templates"}
COST = CostAggregation(width=8, window=2, class_tokens=5, guide_blocks=(0, 2))
CAT_SEG: dict[str, Any] = {
    "trunk": "frozen",
    "num_prompts": 0,
    "double_class_embedding": False,
    "decoder": "cost_aggregation",
    "last_block": LAST_BLOCK,
    "decoder_heads": 2,
    "decoder_layers": 1,
    "feedforward_ratio": 2,
    "cost": COST,
}
TUNED: dict[str, Any] = {"tuned": "queries_values", "text": "tokens"}
METHODS: dict[str, dict[str, Any]] = {
    "zegclip": {},
    "cascade_clip": CASCADE,
    "spt_seg": {"seed": 6, **SPT_SEG},  # of other seeds the gate closes for all patches
    "spt_seg_cascade": {"seed": 6, **SPT_SEG, **CASCADE},
    "otseg": TRANSPORT,
    "cat_seg": {**CAT_SEG, **TUNED},
    "cat_seg_frozen": CAT_SEG,
}
"""The arguments of `segmentor` for each method that has a trained decoder of its own."""


def classes_for(model: Segmentor, count: int = 5) -> Tensor:
    """Return what stands for `count` classes in a small model: a vector each, one of each of two templates, or tokens."""
    generator = torch.Generator().manual_seed(5)
    match model.config.text:
        case "tokens":
            ids = torch.randint(CLIP.vocab_size, (count, 1, CLIP.context_length), generator=generator)
            return ids.float()  # as everything else that stands for classes
        case "templates":
            return F.normalize(torch.randn(count, 2, CLIP.embed_dim, generator=generator), dim=-1)
        case _:
            return F.normalize(torch.randn(count, CLIP.embed_dim, generator=generator), dim=-1)
