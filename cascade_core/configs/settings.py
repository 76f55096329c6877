"""Words that configurations and commands share. This module imports nothing heavy: commands' help uses it."""

from typing import Literal

SelfTrainingMode = Literal["oracle", "strict"]
"""Use of unlabelled pixels in self-training. 'oracle', as published, knows which of them are of unseen classes."""

SelfTrainingTeacher = Literal["self", "ema", "training_free"]
"""The model that makes pseudo-labels: the one in training, as published, the moving average of its weights, or CLIP alone."""

TrainedSetting = Literal["inductive", "transductive_oracle", "transductive_strict", "supervised"]
"""Use of the unseen classes in training (docs/methods.md)."""

Setting = TrainedSetting | Literal["training_free"]
"""A training's use of the unseen classes; "training_free" is CLIP without any training."""

Activation = Literal["quick_gelu", "gelu"]
"""Activation function of a CLIP's perceptrons."""

ScoreFunction = Literal["sigmoid", "softmax"]
"""What turns mask logits into scores: each class by itself, or all classes in competition."""

InferenceMap = Literal["both", "decoder", "scores"]
"""The map of OTSeg that labels come from: the mean of both, as published, or one of them."""

INFERENCE_SETTINGS = ("picture_cosine", "patch_cosine", "inference_map")
"""The settings of a model that a trained one can change: its weights do not depend on them."""

Synonyms = Literal["mean", "maximum"]
"""A class's score: by the mean of its synonyms' vectors, or the maximum of the scores of each."""

PrecisionChoice = Literal["auto", "fp32", "bf16"]
"""A precision, or `auto`: bf16 where the device multiplies such numbers natively, else fp32."""


def is_self_training(setting: str) -> bool:
    """Say whether a setting is that of self-training, in either mode."""
    return setting in ("transductive_oracle", "transductive_strict")


def transductive(mode: SelfTrainingMode) -> TrainedSetting:
    """Return the setting of self-training in a mode."""
    return "transductive_oracle" if mode == "oracle" else "transductive_strict"
