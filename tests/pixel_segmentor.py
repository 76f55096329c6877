"""A segmentor whose logits are the picture itself, for tests of everything computed from logits."""

import torch
from torch import Tensor, nn

from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.model.queries import PreparedClasses
from cascade_core.model.segmentor import Classes, Segmentor
from cascade_core.model.trunk import TrunkFeatures
from tests.tiny import TINY_CLIP, tiny_config


class PixelTrunk(nn.Module):
    """A trunk whose patches are pixels and whose features are channels."""

    def forward(self, images: Tensor) -> TrunkFeatures:
        patches = images.flatten(2).mT
        return TrunkFeatures(patches.mean(dim=1), patches, (), tuple(images.shape[-2:]))


class PixelSegmentor(Segmentor):
    """Gives each class the logit of the channel that its vector names, on masks of the window's size."""

    coupled_classes = False
    cells_per_patch = 1

    def __init__(self) -> None:
        nn.Module.__init__(self)
        clip = TINY_CLIP.model_copy(update={"patch_size": 1, "embed_dim": 3})
        self.config = tiny_config().model.model_copy(update={"clip": clip})
        self.trunk = PixelTrunk()

    def prepare(self, class_vectors: Tensor) -> PreparedClasses:
        return PreparedClasses(class_vectors, ())

    def decode(self, features: TrunkFeatures, classes: Classes) -> Tensor:
        assert isinstance(classes, PreparedClasses)
        return (classes.vectors @ features.patches.mT).unflatten(-1, features.grid)

    def mask_size(self, grid_logits: Tensor, image_size: tuple[int, int]) -> tuple[int, int]:
        return image_size


def pixels(num_classes: int = 3, segmentor: PixelSegmentor | None = None) -> Vocabulary:
    """Give a vocabulary of the first classes, for pictures whose three channels hold logits."""
    return Vocabulary(segmentor or PixelSegmentor(), torch.eye(3)[:num_classes], "sigmoid")
