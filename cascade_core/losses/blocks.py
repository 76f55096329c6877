"""The sums over pixels that focal and dice losses need, in plain torch for any device, block by block."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from cascade_core.labels.label_set import IGNORE
from cascade_core.losses.resize import Resize

GridLogits = Float[Tensor, "batch classes grid_height grid_width"]
Labels = Int[Tensor, "batch height width"]


class FocalConstants(NamedTuple):
    """The focal loss's constants (Lin et al. 2017, equation 5), and the role of `IGNORE` pixels.

    With `ignored_as_negative` these pixels are negatives of every class; else every sum leaves them out.
    """

    alpha: float
    gamma: float
    ignored_as_negative: bool


class PixelSums(NamedTuple):
    """Sums over the pixels of each picture.

    Attributes:
        focal: the focal loss, summed over pixels and classes.
        probability: the sum of the probability p of each class.
        overlap: the sum of p over the class's own pixels.
        pixels: the number of the class's own pixels.
    """

    focal: Float[Tensor, " batch"]
    probability: Float[Tensor, "batch classes"]
    overlap: Float[Tensor, "batch classes"]
    pixels: Float[Tensor, "batch classes"]


Totals = tuple[PixelSums, list[GridLogits]]
"""The sums, and the gradients of `focal`, `probability` and `overlap` on the grid (an empty list if not needed)."""

BLOCK_ELEMENTS = 1 << 18
"""The number of upsampled logits in a block, whose five buffers then fit into a CPU's cache."""


def blocked_sums(
    logits: GridLogits, labels: Labels, resize: Resize, constants: FocalConstants, *, with_maps: bool
) -> Totals:
    """Return the sums, and with `with_maps` the maps of their gradients.

    A first pass counts every class as a negative at every pixel; a second one corrects present classes at their own
    pixels.
    """
    pixels = _pixels_per_class(labels, logits)
    blocks = _Blocks(logits, labels, resize, constants, with_maps=with_maps)
    blocks.add_negatives()
    blocks.add_own(pixels.flatten().nonzero()[:, 0])
    focal, probability, overlap = (sums.view_as(pixels) for sums in blocks.sums)
    maps = [gradient.view_as(logits) for gradient in blocks.maps]
    return PixelSums(focal.sum(dim=1), probability, overlap, pixels), maps


PerPixel = Callable[[Tensor, Tensor, slice], tuple[Iterable[Tensor], Iterable[Tensor]]]
"""A function from upsampled logits of some pairs and rows to two values per pixel, and their slopes."""

FOCAL, PROBABILITY, OVERLAP = range(3)


class _Blocks:
    """The running sums of each (picture, class) pair, and their gradients on the grid."""

    def __init__(
        self, logits: Tensor, labels: Tensor, resize: Resize, constants: FocalConstants, *, with_maps: bool
    ) -> None:
        self.logits, self.labels = logits.flatten(0, 1), labels
        self.resize, self.constants, self.with_maps = resize, constants, with_maps
        self.sums = [self.logits.new_zeros(len(self.logits)) for _ in range(3)]
        self.maps = [torch.zeros_like(self.logits) for _ in range(3 if with_maps else 0)]
        self.pairs = torch.arange(len(self.logits), device=logits.device)
        self.picture, self.own_class = self.pairs // logits.shape[1], self.pairs % logits.shape[1]
        width = len(resize.across)
        self.rows_at_once = max(1, min(len(resize.down), BLOCK_ELEMENTS // (4 * width)))
        self.pairs_at_once = max(1, BLOCK_ELEMENTS // (self.rows_at_once * width))

    def add_negatives(self) -> None:
        """Count every class as a negative at every pixel: (1 - alpha) p^gamma * -log(1 - p).

        This pass must come first, because it multiplies the whole focal sum by 1 - alpha at its end.
        """
        for pairs in self.pairs.split(self.pairs_at_once):
            self._add(pairs, self._as_negatives, to=(FOCAL, PROBABILITY))
        for focal in (self.sums[FOCAL], *self.maps[:1]):
            focal *= 1 - self.constants.alpha

    def add_own(self, present: Int[Tensor, " present"]) -> None:
        """Correct the present pairs at their own pixels to alpha (1 - p)^gamma * -log(p)."""
        for pairs in present.split(self.pairs_at_once):
            self._add(pairs, self._as_positives, to=(FOCAL, OVERLAP))

    def _as_negatives(
        self, logits: Tensor, pairs: Tensor, rows: slice
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        gamma = self.constants.gamma
        if not self.constants.ignored_as_negative:
            ignored = self.labels[self.picture[pairs], rows] == IGNORE
            logits.masked_fill_(ignored, float("-inf"))
        p = logits.sigmoid()
        power = p**gamma
        focal = F.softplus(logits).mul_(power)
        if not self.with_maps:
            return (focal, p), ()
        rest = 1 - p
        slope = (focal * rest).mul_(gamma).addcmul_(power, p)
        return (focal, p), (slope, rest.mul_(p))

    def _as_positives(
        self, logits: Tensor, pairs: Tensor, rows: slice
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        alpha, gamma, _ = self.constants
        mine = self.labels[self.picture[pairs], rows] == self.own_class[pairs, None, None]
        p = logits.sigmoid()
        rest = 1 - p
        positive = alpha * rest**gamma * F.softplus(-logits)
        negative = (1 - alpha) * p**gamma * F.softplus(logits)
        sums = ((positive - negative).mul_(mine), p * mine)
        if not self.with_maps:
            return sums, ()
        slope = -gamma * p * positive - alpha * rest ** (gamma + 1)
        slope -= gamma * rest * negative + (1 - alpha) * p ** (gamma + 1)
        return sums, (slope.mul_(mine), sums[1] * rest)

    def _add(self, pairs: Tensor, per_pixel: PerPixel, *, to: tuple[int, int]) -> None:
        """Add `per_pixel`'s values to the two sums `to`, and its slopes, resized to the grid, to the maps of these sums."""
        down, across = self.resize
        wide = self.logits[pairs] @ across.mT
        slope_sums = [torch.zeros_like(wide) for _ in to] if self.with_maps else []
        for first in range(0, len(down), self.rows_at_once):
            rows = slice(first, first + self.rows_at_once)
            values, slopes = per_pixel(down[rows] @ wide, pairs, rows)
            for target, value in zip(to, values, strict=True):
                self.sums[target][pairs] += value.sum(dim=(1, 2))
            for summed, slope in zip(slope_sums, slopes, strict=True):
                summed.baddbmm_(down[rows].mT.expand(len(pairs), -1, -1), slope)
        for target, summed in zip(to, slope_sums, strict=False):
            self.maps[target][pairs] += summed @ across


def _pixels_per_class(labels: Tensor, logits: Tensor) -> Float[Tensor, "batch classes"]:
    valid = (labels != IGNORE).flatten(1)
    own = labels.flatten(1).long().masked_fill(~valid, 0)
    counts = torch.zeros(logits.shape[:2], dtype=torch.float32, device=logits.device)
    return counts.scatter_add_(1, own, valid.float())
