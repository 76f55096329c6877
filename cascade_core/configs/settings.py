"""Words that configurations and commands share; light, since the commands' help names them."""

from typing import Literal

SelfTrainingMode = Literal["oracle", "strict"]
"""What self-training knows of unlabelled pixels: that some unseen class is there, as published; or nothing."""

Setting = Literal["inductive", "transductive_oracle", "transductive_strict", "supervised"]
"""What a training may know of the unseen classes (docs/methods.md)."""

Activation = Literal["quick_gelu", "gelu"]
"""What a CLIP's perceptrons compute."""


def transductive(mode: SelfTrainingMode) -> Setting:
    """Name the setting of a self-training."""
    return "transductive_oracle" if mode == "oracle" else "transductive_strict"
