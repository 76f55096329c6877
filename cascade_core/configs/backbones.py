"""Backbones: CLIPs that recipes run on. All published runs are on ViT-B-16; settings for the others are ours."""

from collections.abc import Mapping
from typing import Any

from cascade_core.configs.architectures import QUICKGELU_SUFFIX, architecture
from cascade_core.configs.config import RunConfig
from cascade_core.configs.model import ClipConfig
from cascade_core.configs.training_free import training_free
from cascade_core.errors import UserError

CLIP_VIT_B16 = ClipConfig(
    name="ViT-B-16",
    image_size=224,
    patch_size=16,
    width=768,
    layers=12,
    heads=12,
    embed_dim=512,
    text_width=512,
    text_layers=12,
    text_heads=8,
    context_length=77,
    vocab_size=49408,
)
CLIP_VIT_B32 = CLIP_VIT_B16.model_copy(update={"name": "ViT-B-32", "patch_size": 32})
CLIP_VIT_L14 = CLIP_VIT_B16.model_copy(
    update={
        "name": "ViT-L-14",
        "patch_size": 14,
        "width": 1024,
        "layers": 24,
        "heads": 16,
        "embed_dim": 768,
        "text_width": 768,
        "text_heads": 12,
    }
)
CLIP_VIT_L14_336 = CLIP_VIT_L14.model_copy(update={"name": "ViT-L-14-336", "image_size": 336})
CLIPS = {clip.name: clip for clip in (CLIP_VIT_B16, CLIP_VIT_B32, CLIP_VIT_L14, CLIP_VIT_L14_336)}
"""OpenAI's CLIPs by open_clip's names; `backbone` knows all others of the same layout. A CLIP folder states its own."""

MINI_CLIP = ClipConfig(
    name="mini",
    image_size=40,
    patch_size=8,
    width=64,
    layers=8,
    heads=4,
    embed_dim=64,
    text_width=64,
    text_layers=2,
    text_heads=4,
    context_length=20,
    vocab_size=49,
)
"""The mini benchmark's CLIP: OpenAI's layout, patches of 8 on pictures of 40 pixels, one token per word."""
MINI_HARD_CLIP = MINI_CLIP.model_copy(
    update={"name": "mini-hard", "image_size": 64, "context_length": 32, "vocab_size": 79}
)
"""The CLIP of the benchmark mini-hard: as the mini benchmark's, with more words and larger pictures."""


def backbone(name: str) -> ClipConfig:
    """Return the CLIP of a name: of this table, or of open_clip's models, without reading any weights.

    Raises:
        UserError: open_clip has no such model, or it is not of OpenAI's ViT layout.
    """
    if name in CLIPS:
        return CLIPS[name]
    # A name states no activation; that of a CLIP folder replaces it before training.
    return architecture(name, "quick_gelu" if name.endswith(QUICKGELU_SUFFIX) else "gelu")


def untrained(name: str) -> ClipConfig:
    """Return the CLIP of a name as random weights take it: "mini", the smallest, or one that `backbone` knows.

    "mini" then has CLIP's own tokens, so that it reads any words.

    Raises:
        UserError: as `backbone`.
    """
    if name == MINI_CLIP.name:
        tokens = {field: getattr(CLIP_VIT_B16, field) for field in ("context_length", "vocab_size")}
        return MINI_CLIP.model_copy(update=tokens)
    return backbone(name)


def same_tower(left: ClipConfig, right: ClipConfig) -> bool:
    """Say whether the weights of two CLIPs' image towers have the same shapes; activation and heads may differ."""
    shapes = ("width", "layers", "patch_size", "embed_dim")
    return all(getattr(left, field) == getattr(right, field) for field in shapes)


def without_backbone(overrides: Mapping[str, Any], trained: RunConfig) -> dict[str, Any]:
    """Return overrides without `clip`, so that self-training takes the same overrides as the training before it.

    Raises:
        UserError: `clip` names another backbone than that of `trained`.
    """
    rest = dict(overrides)
    name = rest.pop("clip", None)
    if name is not None and not same_tower(backbone(name), trained.model.clip):
        raise UserError(
            f"override clip={name!r}: the checkpoint was trained on {trained.model.clip.name!r}; "
            "train on the other backbone first, or leave this override out"
        )
    return rest


def backbone_changes(config: RunConfig, name: str) -> dict[str, Any]:
    """Return the overrides that put `config` on another CLIP; for its own CLIP they change nothing.

    Middle blocks, and those that guide an upsampling, keep their relative depths: (11, 13, 15) and (17, 19, 21) of 24 blocks are as deep as the
    published (5, 6, 7) and (8, 9, 10) of 12. Sizes are rounded down to whole patches, so that no pixel is cut
    off: 512 becomes 504 with patches of 14. These choices are neither published nor tuned.

    Raises:
        UserError: the backbone is unknown, or not of OpenAI's ViT layout; the message says why.
    """
    clip, model, evaluate = backbone(name), config.model, config.evaluate
    if not model.trains:
        sized = training_free(config.method, clip)
        return {
            "model.clip": clip.model_dump(),
            "model.image_size": sized.model.image_size,
            "data.crop_size": sized.data.crop_size,
            **{
                f"evaluate.{side}": getattr(sized.evaluate, side)
                for side in ("crop_size", "stride", "short_side")
            },
        }
    depth = clip.layers / model.clip.layers

    def whole(size: int) -> int:
        return size // clip.patch_size * clip.patch_size

    guides = {}
    if model.decoder == "cost_aggregation":
        guides = {
            "model.cost.guide_blocks": [round((block + 1) * depth) - 1 for block in model.cost.guide_blocks]
        }
    return {
        **guides,
        "model.clip": clip.model_dump(),
        "model.groups": [[round((block + 1) * depth) - 1 for block in group] for group in model.groups],
        "model.image_size": whole(model.image_size),
        "data.crop_size": whole(config.data.crop_size),
        "evaluate.crop_size": whole(evaluate.crop_size),
        "evaluate.short_side": evaluate.short_side and whole(evaluate.short_side),
    }
