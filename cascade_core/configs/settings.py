"""Words that configurations and commands share. This module imports nothing heavy: commands' help uses it."""

from typing import Literal

SelfTrainingMode = Literal["oracle", "strict"]
"""Use of unlabelled pixels in self-training. 'oracle', as published, knows which of them are of unseen classes."""

Setting = Literal["inductive", "transductive_oracle", "transductive_strict", "supervised"]
"""Use of the unseen classes in training (docs/methods.md)."""

Activation = Literal["quick_gelu", "gelu"]
"""Activation function of a CLIP's perceptrons."""


def transductive(mode: SelfTrainingMode) -> Setting:
    """Return the setting of self-training in a mode."""
    return "transductive_oracle" if mode == "oracle" else "transductive_strict"
