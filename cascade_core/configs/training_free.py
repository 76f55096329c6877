"""Recipes without training: CLIP with another last block, and cosines to the text (docs/training_free.md).

Windows, sizes and temperatures are those of the authors' configurations. SCLIP's, NACLIP's and MaskCLIP's are the
common setting in which later papers compare them; the rule of scores is the same for all.
"""

from collections.abc import Collection
from typing import Any

from cascade_core.configs.config import (
    DataConfig,
    EvalConfig,
    LossConfig,
    RunConfig,
    SelfTrainConfig,
    TrainConfig,
)
from cascade_core.configs.model import ClipConfig, LastBlock, ModelConfig
from cascade_core.configs.templates import TemplateSet, named_templates
from cascade_core.errors import UserError
from cascade_core.runtime.listing import brief

LAST_BLOCKS = {
    "maskclip": LastBlock(attention="value"),
    "sclip": LastBlock(attention="qq_kk"),
    "clearclip": LastBlock(attention="qq", residual=False, feedforward=False),
    "naclip": LastBlock(attention="kk_neighbours", residual=False, feedforward=False),
}
"""The training-free methods, and what each changes in CLIP's last block."""
NATIVE = 224
"""Side of the pictures on which the published CLIPs were trained; windows of other CLIPs scale with theirs."""
CLIP_MEAN, CLIP_STD = (122.771, 116.746, 104.094), (68.501, 66.632, 70.323)
PROTOCOL = "voc12-15-5"
READ_SECTIONS = ("model", "data", "evaluate")
"""The sections of a configuration that decide what a model without training does."""


def training_free(method: str, clip: ClipConfig) -> RunConfig:
    """A training-free method on a published CLIP of any size.

    The method's name is one of `LAST_BLOCKS`. On a CLIP of larger pictures, windows, their stride and the short side
    grow alike, to whole patches, so that a window has as many patches as in the CLIP's training; this is ours.
    """
    large = method == "clearclip"

    def scaled(side: int) -> int:
        return side * clip.image_size // NATIVE // clip.patch_size * clip.patch_size

    window = scaled(448 if large else 224)
    return RunConfig(
        recipe=method,
        method=method,
        model=ModelConfig.model_validate(
            {
                "clip": clip,
                "image_size": clip.image_size,
                "decoder_heads": 1,
                "temperature": 50.0 if large else 40.0,
                **model_changes(method),
            }
        ),
        loss=LossConfig(kind="cross_entropy"),
        data=DataConfig(
            protocol=PROTOCOL,
            mean=CLIP_MEAN,
            std=CLIP_STD,
            crop_size=window,
            templates=named_templates(TemplateSet.clip80),
        ),
        train=TrainConfig(iterations=1, batch_size=1),
        self_train=SelfTrainConfig(batch_size=1),
        evaluate=EvalConfig(
            short_side=scaled(448 if large else 336),
            crop_size=window,
            # Windows overlap by half; a stride need not be of whole patches.
            stride=window // 2,
            seen_penalty=0.0,
            batch_size=8,
            average="logits",
            synonyms="maximum",
        ),
    )


NEEDS_TRAINING = (
    "text",
    "tuned",
    "inference_map",
    "cost",
    "mid_projection_init",
    "mid_projection_trains",
    "mid_projection_seed",
    "aggregation",
    "aggregation_sigma",
    "decoders",
    "query_projections",
    "prompt_depth",
    "picture_cosine",
    "patch_cosine",
    "cosines_in_training",
)
"""Settings of a model that trains, at whose published values nothing is refused without it."""


def model_changes(method: str) -> dict[str, Any]:
    """Return the fields of `ModelConfig` that make a model training-free by this method."""
    return {
        "trunk": "frozen",
        "num_prompts": 0,
        "double_class_embedding": False,
        "position_resize": "bicubic",
        "last_block": LAST_BLOCKS[method].model_dump(),
        "decoder": "cosine",
        "mask_size": "input",
    }


def without_training(method: str) -> dict[str, Any]:
    """Return the overrides that turn a recipe that trains into this method on the same CLIP, pictures, windows and templates."""
    return {
        **{f"model.{name}": ModelConfig.model_fields[name].default for name in NEEDS_TRAINING},
        **{f"model.{field}": value for field, value in model_changes(method).items()},
        "loss.distil_weight": 0.0,
        "train.vector_noise": 0.0,
        "self_train.start_iteration": None,
        "self_train.teacher": "self",
        "loss.kind": "cross_entropy",
        "evaluate.average": "logits",
        "evaluate.synonyms": "maximum",
        "evaluate.seen_penalty": 0.0,
        "train.iterations": 1,
        "train.checkpoint_every": 1,
    }


def check_changes(overrides: Collection[str], changed: RunConfig) -> None:
    """Check that overrides change what a training-free model reads; `changed` is the configuration with them.

    Raises:
        UserError: a key is of the training, which there is none of, or of the CLIP, which is stated by its weights, or
            the changed model has weights to train.
    """
    for key in overrides:
        if key == "clip" or f"{key}.".startswith("model.clip."):
            raise UserError(f"override {brief(key)}: the CLIP is that of the weights; give other weights")
        if key.partition(".")[0] not in READ_SECTIONS:
            raise UserError(
                f"override {brief(key)} changes nothing in a model without training; give keys of "
                f"{', '.join(READ_SECTIONS)}, such as model.temperature or evaluate.synonyms"
            )
    if changed.model.trains:
        raise UserError(
            f"with {', '.join(overrides)} the model would have weights to train; leave model.trunk and model.decoder "
            f"as {changed.method} has them"
        )
