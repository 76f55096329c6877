"""The graph of a segmentor that other engines run: its inputs, its outputs, and how torch traces it.

Text vectors are an input, so one file serves any vocabulary. Batch, number of classes and picture size are free;
each side of a picture needs at least two patches.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from cascade_core.configs.config import RunConfig
from cascade_core.configs.settings import ScoreFunction
from cascade_core.errors import UserError
from cascade_core.model.decoder import is_of_fixed_size
from cascade_core.model.probabilities import probabilities
from cascade_core.model.queries import ClassVectors
from cascade_core.model.segmentor import Segmentor

INPUTS = ("images", "class_vectors", "penalties")
OUTPUTS = ("logits", "probabilities", "labels")


class Outputs(NamedTuple):
    """What a graph computes, as arrays.

    Attributes:
        logits: mask logits on the patch grid, float32 [batch, classes, grid height, grid width].
        probabilities: at the pictures' size, before the penalties, float32 [batch, classes, height, width].
        labels: the class with the highest probability less its penalty, int64 [batch, height, width].
    """

    logits: np.ndarray
    probabilities: np.ndarray
    labels: np.ndarray


RunGraph = Callable[[np.ndarray, np.ndarray, np.ndarray], Outputs]
"""Runs a graph on images (float32 [batch, 3, height, width], RGB levels 0..255), class vectors and penalties."""


class Exportable(nn.Module):
    """The module to export: from pictures (RGB levels 0..255), text vectors and seen penalties to all `OUTPUTS`.

    The module normalises the pictures and sees them whole; its labels are evaluation's in mode "whole". Logits are
    those of the patch grid: they are small, and any caller can upsample them or average them over windows.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, segmentor: Segmentor, config: RunConfig) -> None:
        """Take the segmentor, in evaluation mode and without gradients.

        Raises:
            UserError: a part of it needs to know the size of the pictures.
        """
        super().__init__()
        if fixed := sorted({type(part).__name__ for part in segmentor.modules() if is_of_fixed_size(part)}):
            raise UserError(
                f"recipe {config.recipe} has no graph: its parts {', '.join(fixed)} follow the size of the pictures, which a graph "
                "leaves open; use --format folder, which every command reads"
            )
        # With gradients, a graph would keep the activations of all layers, and numpy could not read its output.
        self.segmentor = segmentor.eval().requires_grad_(False)
        self.config = config
        self.score_function: ScoreFunction = config.loss.score_function
        self.register_buffer("mean", torch.tensor(config.data.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(config.data.std).view(1, 3, 1, 1))

    def forward(
        self,
        images: Float[Tensor, "batch 3 height width"],
        class_vectors: ClassVectors,
        penalties: Float[Tensor, " classes"],
    ) -> tuple[
        Float[Tensor, "batch classes grid_height grid_width"],
        Float[Tensor, "batch classes height width"],
        Int64[Tensor, "batch height width"],
    ]:
        logits = self.segmentor.grid_logits(self.normalised(images), class_vectors)
        return self.of_logits(logits, (images.shape[-2], images.shape[-1]), penalties)

    def normalised(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Return pictures as the trunk takes them."""
        return (images - self.mean) / self.std

    def of_logits(
        self,
        logits: Float[Tensor, "batch classes grid_height grid_width"],
        size: tuple[int, int],
        penalties: Float[Tensor, " classes"],
    ) -> tuple[
        Float[Tensor, "batch classes grid_height grid_width"],
        Float[Tensor, "batch classes height width"],
        Int64[Tensor, "batch height width"],
    ]:
        """Return all outputs for pictures of a size, from their logits on the patch grid."""
        masks = probabilities(self.segmentor.to_mask_size(logits, size), self.score_function)
        at_pixels = F.interpolate(masks, size=size, mode="bilinear", align_corners=False)
        return logits, at_pixels, (at_pixels - penalties[:, None, None]).argmax(dim=1)

    def outputs(self, images: np.ndarray, class_vectors: np.ndarray, penalties: np.ndarray) -> Outputs:
        """Run the module in torch, as a `RunGraph`."""
        with torch.no_grad():
            tensors = self(*map(torch.from_numpy, (images, class_vectors, penalties)))
        return Outputs(*(tensor.numpy() for tensor in tensors))


def exported_program(module: Exportable) -> torch.export.ExportedProgram:
    """Trace the graph with free batch, classes, height and width."""
    config = module.segmentor.config
    patch = config.clip.patch_size
    # Not square and not of the configured size: tracing must not fix the branch that such pictures take.
    images = torch.zeros(2, 3, 6 * patch, 5 * patch)
    class_vectors = F.normalize(torch.ones(module.config.vectors_shape(3)), dim=-1)
    dim, least = torch.export.Dim, 2 * patch
    classes = dim("classes", min=1)
    shapes = {
        "images": {0: dim("batch", min=1), 2: dim("height", min=least), 3: dim("width", min=least)},
        "class_vectors": {0: classes},
        "penalties": {0: classes},
    }
    with torch.no_grad():
        return torch.export.export(
            module, (images, class_vectors, torch.zeros(len(class_vectors))), dynamic_shapes=shapes
        )
