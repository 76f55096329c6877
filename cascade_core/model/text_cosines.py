"""Two maps that CLIP gives for nothing: the cosines of a class's text with the whole picture, and with each patch.

The picture's cosine says whether a class is present. That of a patch is low where the class is: the last patches of a CLIP
look away from what the text names (Li et al. 2023, CLIP Surgery, call it the opposite visualisation). So its weight is below 0.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cascade_core.model.trunk import TrunkFeatures


class TextCosines(nn.Module):
    """The sum of both maps, each with a weight; `in_training` multiplies both while the model trains. This has no weights to train."""

    def __init__(self, *, of_picture: float, of_patch: float, in_training: float) -> None:
        super().__init__()
        self.of_picture, self.of_patch, self.in_training = of_picture, of_patch, in_training

    def as_in_training(self) -> "TextCosines":
        """Return what this adds while the model trains, for a model that only looks."""
        share = self.in_training
        return TextCosines(
            of_picture=share * self.of_picture, of_patch=share * self.of_patch, in_training=1.0
        )

    def forward(
        self, features: TrunkFeatures, class_vectors: Float[Tensor, "classes embed"]
    ) -> Float[Tensor, "batch classes patches"]:
        """Return what is added to the mask logits; a class's map does not depend on other classes."""
        times = self.in_training if self.training else 1.0
        both = self.of_picture * features.global_embedding[:, None] + self.of_patch * features.patches
        return F.normalize(class_vectors, dim=-1) @ (times * both).mT
