"""The recipes of the mini benchmark and of mini-hard.

An ablation replaces fields of its parent recipe and names no others.
"""

from collections.abc import Mapping
from typing import Any

from cascade_core.configs.backbones import MINI_CLIP, MINI_HARD_CLIP
from cascade_core.configs.cat_seg import CLIP_SHARE, HEAD, MINI_LR, MINI_SIZE, TUNED
from cascade_core.configs.changes import variant, with_overrides
from cascade_core.configs.config import (
    DataConfig,
    EvalConfig,
    OptimConfig,
    RunConfig,
    SelfTrainConfig,
    TrainConfig,
)
from cascade_core.configs.model import ModelConfig
from cascade_core.configs.otseg import TRANSPORT
from cascade_core.configs.themes.cascade import TRAINED_PROJECTIONS
from cascade_core.configs.themes.peers import SPT_SEG
from cascade_core.configs.themes.scoring import TEXT_COSINES
from cascade_core.configs.themes.zegclip import CROSS_ENTROPY, NO_PROMPTS, TEXT_QUERY
from cascade_core.configs.training_free import without_training
from cascade_core.datasets import mini

MINI_CASCADE_GROUPS = ((1, 2, 3), (4, 5, 6))
SMALL_TUNED = {**TUNED, "optim.clip_lr": CLIP_SHARE * MINI_LR}


def mini_zegclip() -> RunConfig:
    """ZegCLIP on the mini benchmark.

    Learning rates, the decoder's initial scale and dropout differ from the published recipes: at an embedding
    width of 64 the default initialisation gives maps too flat to learn from in a few hundred iterations, and
    dropout lowers the scores.
    """
    return RunConfig(
        recipe="mini_zegclip",
        method="zegclip",
        model=ModelConfig(
            clip=MINI_CLIP,
            image_size=64,
            num_prompts=8,
            decoder_heads=4,
            head_init="trunc_normal",
            head_init_std=0.2,
            dropout=0.0,
        ),
        optim=OptimConfig(prompt_lr=2e-3, decoder_lr=2e-2, warmup_iterations=50),
        data=DataConfig(
            protocol="mini-18-6",
            crop_size=64,
            resize_range=(1.0, 1.6),
            max_class_share=None,
            photometric=False,
            templates=mini.TEMPLATES,
        ),
        train=TrainConfig(iterations=900, batch_size=8, checkpoint_every=300),
        self_train=SelfTrainConfig(batch_size=8),
        evaluate=EvalConfig(mode="whole", short_side=None, crop_size=64, stride=48, batch_size=50),
    )


def mini_cascade_clip() -> RunConfig:
    """Cascade-CLIP on the mini benchmark: two groups of three middle blocks, and the last block."""
    return _mini(
        mini_zegclip(), "cascade_clip", {"model.fusion": "cascade", "model.groups": MINI_CASCADE_GROUPS}
    )


def plus_mini() -> RunConfig:
    """Cascade-CLIP on the mini benchmark, with cosines of text, picture and patches at inference; worse than without on test2."""
    return variant(mini_cascade_clip(), "plus_mini", "plus", TEXT_COSINES)


def plus_projections_mini() -> RunConfig:
    """Cascade-CLIP on the mini benchmark with middle projections that train."""
    return variant(mini_cascade_clip(), "plus_projections_mini", "plus_projections", TRAINED_PROJECTIONS)


def mini_spt_seg() -> RunConfig:
    """SPT-SEG on the mini benchmark: spectral prompt, two-frequency decoder, focal and SSIM."""
    return _mini(mini_zegclip(), "spt_seg", SPT_SEG)


def mini_spt_seg_cascade() -> RunConfig:
    """SPT-SEG with Cascade: a two-frequency decoder for each group of middle blocks and for the last block."""
    return _mini(mini_cascade_clip(), "spt_seg_cascade", SPT_SEG)


def mini_frozen_cascade() -> RunConfig:
    """Cascade-CLIP's decoders on the frozen CLIP: no prompts and no prompt norm."""
    return _mini(mini_cascade_clip(), "frozen_cascade", NO_PROMPTS)


def mini_naive_fusion() -> RunConfig:
    """All middle levels and the last level summed into one decoder."""
    return _mini(
        mini_zegclip(), "naive_fusion", {"model.fusion": "naive", "model.groups": MINI_CASCADE_GROUPS}
    )


def mini_otseg() -> RunConfig:
    """OTSeg+ on the mini benchmark: the vectors of three templates per class, in place of their mean."""
    return _mini(mini_zegclip(), "otseg", TRANSPORT)


def mini_cat_seg() -> RunConfig:
    """CAT-Seg on the mini benchmark: its head, and queries and values of both towers train."""
    return _mini(mini_cat_seg_frozen(), "cat_seg", SMALL_TUNED)


def mini_cat_seg_frozen() -> RunConfig:
    """CAT-Seg's head on the frozen CLIP: a cost volume, aggregated over patches and classes."""
    return _mini(mini_zegclip(), "cat_seg_frozen", {**HEAD, **MINI_SIZE})


def mini_zegclip_no_rd() -> RunConfig:
    """ZegCLIP without the relationship descriptor: queries are a linear map of the text alone."""
    return _mini(mini_zegclip(), "zegclip_no_rd", TEXT_QUERY)


def mini_zegclip_no_prompts() -> RunConfig:
    """ZegCLIP on the frozen CLIP: no prompts and no prompt norm."""
    return _mini(mini_zegclip(), "zegclip_no_prompts", NO_PROMPTS)


def mini_decoder_ce() -> RunConfig:
    """Prompts and decoder, text queries, softmax cross-entropy over the candidate classes."""
    return _mini(mini_zegclip(), "decoder_ce", {**TEXT_QUERY, **CROSS_ENTROPY})


def mini_baseline() -> RunConfig:
    """`decoder_ce` on the frozen CLIP."""
    return _mini(mini_decoder_ce(), "baseline", NO_PROMPTS)


def mini_linear() -> RunConfig:
    """A linear map of the frozen patch vectors, initially the identity; cosine similarity and cross-entropy."""
    changes = {**NO_PROMPTS, **CROSS_ENTROPY, "model.decoder": "linear"}
    return _mini(mini_zegclip(), "linear", changes)


def hard_zegclip() -> RunConfig:
    """ZegCLIP on mini-hard: the mini benchmark's settings, with windows of 64 pixels into pictures of 128."""
    changes = {
        "recipe": "hard_zegclip",
        "model.clip": MINI_HARD_CLIP.model_dump(),
        "data.protocol": "mini-hard-38-12",
        "evaluate.mode": "slide",
        "evaluate.stride": 32,
        "evaluate.batch_size": 8,
    }
    return with_overrides(mini_zegclip(), changes)


def hard_cascade_clip() -> RunConfig:
    """Cascade-CLIP on mini-hard: two groups of three middle blocks, and the last block."""
    changes = {"method": "cascade_clip", "model.fusion": "cascade", "model.groups": MINI_CASCADE_GROUPS}
    return with_overrides(hard_zegclip(), {"recipe": "hard_cascade_clip", **changes})


def hard_cat_seg() -> RunConfig:
    """CAT-Seg on mini-hard: its head, and queries and values of both towers train."""
    return variant(hard_zegclip(), "hard_cat_seg", "cat_seg", {**HEAD, **MINI_SIZE, **SMALL_TUNED})


def _mini(parent: RunConfig, method: str, changes: Mapping[str, Any]) -> RunConfig:
    return variant(parent, f"mini_{method}", method, changes)


def small_training_free(world: str, method: str) -> RunConfig:
    """A training-free method on the CLIP of the mini benchmark or of mini-hard; it sees pictures as that world's other recipes do."""
    parent = {"mini": mini_zegclip, "hard": hard_zegclip}[world]
    return variant(parent(), f"{world}_{method}", method, without_training(method))


# Names are derived from the functions, in the order they should be listed.
RECIPES = (
    mini_zegclip,
    mini_cascade_clip,
    mini_naive_fusion,
    mini_otseg,
    mini_zegclip_no_rd,
    mini_zegclip_no_prompts,
    mini_decoder_ce,
    mini_baseline,
    mini_linear,
    mini_spt_seg,
    mini_spt_seg_cascade,
    mini_frozen_cascade,
    mini_cat_seg_frozen,
    mini_cat_seg,
    plus_mini,
    plus_projections_mini,
    hard_zegclip,
    hard_cascade_clip,
    hard_cat_seg,
)
