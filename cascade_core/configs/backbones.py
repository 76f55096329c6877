"""CLIPs that a recipe may be put on. The published runs are all on ViT-B-16; what is here for others is ours."""

from collections.abc import Mapping
from typing import Any

from cascade_core.configs.config import ClipConfig, RunConfig
from cascade_core.errors import UserError
from cascade_core.runtime.listing import by_name

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
"""By open_clip's names. OpenAI's weights have the activation stated here; a CLIP folder says its own."""

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
"""The mini benchmark's: OpenAI's layout with patches of 8 on pictures of 40 pixels, and a token for each word."""


def same_tower(one: ClipConfig, other: ClipConfig) -> bool:
    """Say whether the image towers of two CLIPs take each other's weights; activation and heads are no matter of shape."""
    return all(
        getattr(one, field) == getattr(other, field)
        for field in ("width", "layers", "patch_size", "embed_dim")
    )


def less_backbone(overrides: Mapping[str, Any], trained: RunConfig) -> dict[str, Any]:
    """Give overrides without the backbone's name, which what is `trained` already has.

    The same overrides serve a training and the self-training after it.

    Raises:
        UserError: they name another backbone than the trained one.
    """
    rest = dict(overrides)
    name = rest.pop("clip", None)
    if name is not None and not same_tower(by_name(name, CLIPS, kind="backbone"), trained.model.clip):
        raise UserError(
            f"override clip={name!r}: the checkpoint was trained on {trained.model.clip.name!r}; "
            "train on the other backbone first, or leave this override out"
        )
    return rest


def backbone_changes(config: RunConfig, name: str) -> dict[str, Any]:
    """Give the overrides that put `config` on another CLIP; none of its values change on the one it has.

    Middle blocks keep their relative depths: of 24 blocks (11, 13, 15) and (17, 19, 21) are tapped, which lie
    as deep as the published (5, 6, 7) and (8, 9, 10) of 12. Sizes are rounded down to whole patches, so that no
    pixel is cut off: 512 becomes 504 at patches of 14. Not published, and not tuned.

    Raises:
        UserError: the backbone is unknown; the message lists the known ones.
    """
    clip, model, evaluate = by_name(name, CLIPS, kind="backbone"), config.model, config.evaluate
    depth = clip.layers / model.clip.layers

    def whole(size: int) -> int:
        return size // clip.patch_size * clip.patch_size

    return {
        "model.clip": clip.model_dump(),
        "model.groups": [[round((block + 1) * depth) - 1 for block in group] for group in model.groups],
        "model.image_size": whole(model.image_size),
        "data.crop_size": whole(config.data.crop_size),
        "evaluate.crop_size": whole(evaluate.crop_size),
        "evaluate.short_side": evaluate.short_side and whole(evaluate.short_side),
    }
