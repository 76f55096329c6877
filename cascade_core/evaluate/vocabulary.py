"""A segmentor asked for many classes: calibrated scores of a window, a chunk of the classes at a time.

A class's logits do not depend on which others are asked for, so the trunk sees a window once and the decoder
goes through the classes in chunks. The scores are those that `inference.py` defines.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cascade_core.evaluate.inference import Kind, probabilities, seen_penalties
from cascade_core.evaluate.strips import Box
from cascade_core.model.segmentor import Segmentor
from cascade_core.model.trunk import TrunkFeatures


@dataclass(frozen=True)
class Vocabulary:
    """A segmentor and the classes it is asked for: the text vectors, and who of them pays the seen penalty."""

    segmentor: Segmentor
    class_vectors: Float[Tensor, "classes embed"]
    kind: Kind
    seen: Sequence[int] = ()
    seen_penalty: float = 0.0

    def __len__(self) -> int:
        return len(self.class_vectors)

    @property
    def penalties(self) -> Float[Tensor, " classes"]:
        """What is taken off each class's probability before they are compared."""
        return seen_penalties(
            len(self), seen=self.seen, seen_penalty=self.seen_penalty, device=self.class_vectors.device
        )

    def logits(self, window: "Window", classes: slice) -> Float[Tensor, "batch chunk mask_height mask_width"]:
        """Give a chunk of the mask logits at the size where they become probabilities."""
        grid = self.segmentor.decode(window.features, self.class_vectors[classes])
        return self.segmentor.upsampled(grid, window.size)

    def normaliser(
        self, window: "Window", at_once: int
    ) -> Float[Tensor, "batch 1 mask_height mask_width"] | None:
        """Give the logarithm of the softmax's denominator over all classes; independent ones need none."""
        if self.kind == "focal_dice":
            return None
        total: Tensor | None = None
        for chunk in chunks(0, len(self), at_once):
            part = self.logits(window, chunk).logsumexp(dim=1, keepdim=True)
            total = part if total is None else torch.logaddexp(total, part)
        return total

    def scores(self, window: "Window", classes: slice) -> Float[Tensor, "batch chunk height width"]:
        """Give a chunk of the calibrated scores of a window, at the window's size."""
        assert self.kind == "focal_dice" or window.normaliser is not None
        scores = probabilities(self.logits(window, classes), self.kind, normaliser=window.normaliser)
        if self.seen_penalty:
            scores -= self.penalties[classes, None, None]
        if scores.shape[-2:] == window.size:
            return scores
        return F.interpolate(scores, size=window.size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Window:
    """What the trunk saw of one window of every picture of a batch."""

    box: Box
    features: TrunkFeatures
    normaliser: Float[Tensor, "batch 1 mask_height mask_width"] | None

    @property
    def size(self) -> tuple[int, int]:
        return self.box.height, self.box.width


def chunks(first: int, last: int, at_once: int) -> Iterator[slice]:
    """Cut first..last-1 into parts of at most `at_once`, and of at least one."""
    step = max(1, at_once)
    for start in range(first, last, step):
        yield slice(start, min(start + step, last))
