"""What a training may know of the unseen classes (docs/methods.md); light, since the commands' help names these words."""

from typing import Literal

SelfTrainingMode = Literal["oracle", "strict"]
"""What self-training knows of unlabelled pixels: that some unseen class is there, as published; or nothing."""

Setting = Literal["inductive", "transductive_oracle", "transductive_strict", "supervised"]


def transductive(mode: SelfTrainingMode) -> Setting:
    """Name the setting of a self-training."""
    return "transductive_oracle" if mode == "oracle" else "transductive_strict"
