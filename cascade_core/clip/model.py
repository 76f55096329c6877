"""A whole CLIP model: both towers and the temperature of their logits."""

import math

import torch
from torch import nn

from cascade_core.clip.text import TextTransformer
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import ClipConfig


class ClipModel(nn.Module):
    """Image tower, text tower and the logarithm of the logit scale (Radford et al. 2021, figure 3)."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = VisionTransformer(config)
        self.text = TextTransformer(config)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
