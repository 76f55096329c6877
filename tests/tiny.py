"""A model of the mini benchmark's shapes but two sizes smaller, untrained, for tests of everything around the model."""

from pathlib import Path

import torch

from cascade_core.checkpoints.checkpoint import CheckpointManifest, save_checkpoint
from cascade_core.clip.weights import ClipModel, save_clip
from cascade_core.configs.backbones import MINI_CLIP
from cascade_core.configs.config import DataConfig, EvalConfig, RunConfig, SelfTrainConfig, TrainConfig
from cascade_core.configs.model import ClipConfig, ModelConfig
from cascade_core.configs.settings import Setting
from cascade_core.mini.vocabulary import WORDS
from cascade_core.model.build import build_segmentor

TINY_CLIP = ClipConfig(
    name="tiny",
    image_size=32,
    patch_size=8,
    width=16,
    layers=4,
    heads=2,
    embed_dim=16,
    text_width=16,
    text_layers=1,
    text_heads=2,
    context_length=MINI_CLIP.context_length,
    vocab_size=len(WORDS) + 3,
)


def tiny_config(
    *, mode: str = "whole", short_side: int | None = None, seen_penalty: float = 0.1
) -> RunConfig:
    """Give a run on the mini benchmark's classes with a model of 32x32 pixels."""
    return RunConfig(
        recipe="tiny",
        method="cascade_clip",
        model=ModelConfig(
            clip=TINY_CLIP, image_size=32, num_prompts=2, fusion="cascade", groups=((0, 1),), decoder_heads=2
        ),
        data=DataConfig(protocol="mini-18-6", crop_size=32),
        train=TrainConfig(iterations=2, batch_size=2),
        self_train=SelfTrainConfig(iterations=1, start_iteration=1, batch_size=2),
        evaluate=EvalConfig.model_validate(
            {
                "mode": mode,
                "short_side": short_side,
                "crop_size": 32,
                "stride": 24,
                "seen_penalty": seen_penalty,
            }
        ),
    )


def write_tiny_clip(folder: Path) -> ClipModel:
    """Write a random tiny CLIP that knows the mini benchmark's words."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        clip = ClipModel(TINY_CLIP)
    save_clip(folder, clip, words=list(WORDS))
    return clip


def write_tiny_checkpoint(
    folder: Path, clip: ClipModel, config: RunConfig, *, setting: Setting = "inductive"
) -> CheckpointManifest:
    """Write an untrained checkpoint around the image tower of `clip`."""
    split = config.data.split
    manifest = CheckpointManifest(
        config=config,
        setting=setting,
        iteration=2,
        total_iterations=2,
        classes=split.classes,
        unseen=split.unseen_names,
        provenance={"data_hash": "0" * 64},
    )
    segmentor = build_segmentor(config.model, clip.visual, seed=0, text=clip.text)
    save_checkpoint(folder, segmentor, manifest)
    return manifest
