"""The shapes of the mini benchmark's CLIP."""

from cascade_core.configs.config import ClipConfig
from cascade_core.mini.vocabulary import CONTEXT_LENGTH, WORDS
from cascade_core.mini.world import CROP_SIZE

NUM_MARKS = 3
"""Tokens that are no words: padding, start and end."""


def mini_clip_config() -> ClipConfig:
    """Return the shapes of the tiny CLIP: OpenAI's layout with patches of 8 on pictures of 40 pixels."""
    return ClipConfig(
        name="mini",
        image_size=CROP_SIZE,
        patch_size=8,
        width=64,
        layers=8,
        heads=4,
        embed_dim=64,
        text_width=64,
        text_layers=2,
        text_heads=4,
        context_length=CONTEXT_LENGTH,
        vocab_size=len(WORDS) + NUM_MARKS,
        activation="quick_gelu",
    )
