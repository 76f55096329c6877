"""A segmentor whose logits an exported graph computes: all of inference then runs on the graph, window by window."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from cascade_core.configs.config import RunConfig
from cascade_core.engines.graph import RunGraph
from cascade_core.errors import UserError
from cascade_core.model.queries import ClassVectors, PreparedClasses
from cascade_core.model.segmentor import Classes, GridLogits, Segmentor
from cascade_core.model.trunk import TrunkFeatures


@dataclass(frozen=True)
class PicturesAsFeatures(TrunkFeatures):
    """Pictures on their way to a graph, which computes features and logits in one; the features are empty."""

    images: Float[Tensor, "batch 3 height width"]


class _PassOn(nn.Module):
    """Stands in for the trunk: passes RGB levels on."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], patch_size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self.patch_size = patch_size

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> PicturesAsFeatures:
        height, width = images.shape[-2:]
        if min(height, width) < 2 * self.patch_size:
            raise UserError(
                f"the graph would see {width} x {height} pixels; each side needs at least {2 * self.patch_size}, which are "
                "two patches: use larger pictures, or a larger short side"
            )
        none = images.new_empty(len(images), 0)
        grid = height // self.patch_size, width // self.patch_size
        # Inference normalises pictures, and the graph does so itself.
        return PicturesAsFeatures(none, none[:, None], (), grid, images * self.std + self.mean)


class GraphSegmentor(Segmentor):
    """Stands in for the segmentor that the graph was exported from, on the CPU.

    The graph runs once for each batch of windows; for so many classes that inference takes them in chunks, once for
    each chunk.
    """

    # What a decoder may declare otherwise; such decoders have no graph.
    coupled_classes = False
    cells_per_patch = 1

    def __init__(self, config: RunConfig, run: RunGraph) -> None:
        nn.Module.__init__(self)
        self.config = config.model
        self.text = None
        self.trunk = _PassOn(config.data.mean, config.data.std, config.model.clip.patch_size)  # type: ignore[assignment]
        self._run = run

    def prepare(self, class_vectors: ClassVectors) -> PreparedClasses:
        """Return the vectors alone: the graph takes them as they are."""
        self.check(class_vectors)
        return PreparedClasses(class_vectors, ())

    def decode(self, features: TrunkFeatures, classes: Classes) -> GridLogits:
        """Run the graph on the pictures that took the trunk's place; its penalties are 0, as inference has its own."""
        assert isinstance(features, PicturesAsFeatures)
        vectors = classes.vectors if isinstance(classes, PreparedClasses) else classes
        no_penalties = np.zeros(len(vectors), dtype=np.float32)
        return torch.from_numpy(self._run(features.images.numpy(), vectors.numpy(), no_penalties).logits)
