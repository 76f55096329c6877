"""Sums of focal and dice terms over bilinearly upsampled logits, which never stand in memory whole.

Logits live on a patch grid, labels on pixels. At 512 x 512 pixels the upsampled logits of a batch of 4 with 156
classes take 650 MB, and each step of the published loss as much again. Here a few classes and rows are upsampled
at a time, summed, and their gradient is brought back to the grid at once: upsampling is linear, so the gradient
of any weighting of the three sums is the same weighting of three maps on the grid.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from cascade_core.labelsets import IGNORE

BLOCK_ELEMENTS = 1 << 18
"""Upsampled logits looked at together: small enough that the five buffers of a block stay in a CPU's cache."""


class UpsampledSums(NamedTuple):
    """What focal and dice losses are made of, over the pixels of each picture.

    `focal` is the focal loss summed over pixels and classes, `probability` the sum of p per class, `overlap` the
    sum of p over the pixels of the class, `pixels` their number.
    """

    focal: Float[Tensor, "batch"]
    probability: Float[Tensor, "batch classes"]
    overlap: Float[Tensor, "batch classes"]
    pixels: Float[Tensor, "batch classes"]


def upsampled_sums(
    grid_logits: Float[Tensor, "batch classes grid_height grid_width"],
    labels: Int[Tensor, "batch height width"],
    *,
    alpha: float,
    gamma: float,
    ignored_as_negative: bool,
) -> UpsampledSums:
    """Return the sums over `grid_logits` resized bilinearly (align_corners False) to the size of `labels`.

    Gradients flow to `grid_logits` through all sums, once: there are no second derivatives. `labels` hold ids
    0..classes-1 and `IGNORE`; `ignored_as_negative=False` leaves pixels of `IGNORE` out of every sum, else they
    are negatives of every class.
    """
    exact = grid_logits.new_empty((), dtype=torch.promote_types(grid_logits.dtype, torch.float32))
    resize = _Resize(grid_logits.shape[-2:], labels.shape[-2:], like=exact)
    focal, probability, overlap = _UpsampledSums.apply(
        grid_logits, labels, resize, alpha, gamma, ignored_as_negative
    )
    return UpsampledSums(focal, probability, overlap, _pixels_per_class(labels, grid_logits))


class _UpsampledSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        grid_logits: Tensor,
        labels: Tensor,
        resize: "_Resize",
        alpha: float,
        gamma: float,
        ignored_as_negative: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        sums = _Accumulated(
            grid_logits.detach().to(resize.down.dtype), resize, alpha, gamma, maps=ctx.needs_input_grad[0]
        )
        for picture, own in enumerate(labels):
            sums.add_negatives(picture, without=None if ignored_as_negative else own == IGNORE)
            sums.add_own(picture, own)
        ctx.save_for_backward(*sums.maps)
        ctx.dtype = grid_logits.dtype
        return sums.focal, sums.probability, sums.overlap

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        of_focal, of_probability, of_overlap = gradients
        focal, probability, overlap = ctx.saved_tensors
        gradient = focal * of_focal[:, None, None, None]
        gradient += probability * of_probability[..., None, None]
        gradient += overlap * of_overlap[..., None, None]
        return gradient.to(ctx.dtype), None, None, None, None, None


class _Accumulated:
    """The sums over the pictures, and the maps of their gradients on the grid, as blocks are added."""

    def __init__(self, logits: Tensor, resize: "_Resize", alpha: float, gamma: float, *, maps: bool) -> None:
        self.logits, self.resize, self.alpha, self.gamma = logits, resize, alpha, gamma
        self.focal = logits.new_zeros(logits.shape[0])
        self.probability, self.overlap = (logits.new_zeros(logits.shape[:2]) for _ in range(2))
        self.maps = tuple(torch.zeros_like(logits) for _ in range(3)) if maps else ()

    def add_negatives(self, picture: int, *, without: Bool[Tensor, "height width"] | None) -> None:
        """Take every class for a negative at every pixel: (1 - alpha) p^gamma * -log(1 - p)."""
        everything = torch.arange(self.logits.shape[1], device=self.logits.device)
        for classes in everything.split(self.resize.classes_at_once):
            grids = [torch.zeros_like(self.resize.widened(self.logits[picture, classes])) for _ in range(2)]
            for rows, logits in self.resize.blocks(self.logits[picture, classes]):
                if without is not None:
                    logits.masked_fill_(without[rows], float("-inf"))
                p = logits.sigmoid()
                power = p**self.gamma
                loss = power * F.softplus(logits)
                self.focal[picture] += (1 - self.alpha) * loss.sum()
                self.probability[picture, classes] += p.sum(dim=(1, 2))
                if self.maps:
                    rest = 1 - p
                    self.resize.add_back(grids[0], rows, (loss * rest).mul_(self.gamma).addcmul_(power, p))
                    self.resize.add_back(grids[1], rows, rest.mul_(p))
            if self.maps:
                self.maps[0][picture, classes] = (1 - self.alpha) * self.resize.narrowed(grids[0])
                self.maps[1][picture, classes] = self.resize.narrowed(grids[1])

    def add_own(self, picture: int, own: Int[Tensor, "height width"]) -> None:
        """Put the classes that are there right at their own pixels: alpha (1 - p)^gamma * -log(p) instead."""
        alpha, gamma = self.alpha, self.gamma
        present = own.unique().long()
        for classes in present[present != IGNORE].split(self.resize.classes_at_once):
            grids = [torch.zeros_like(self.resize.widened(self.logits[picture, classes])) for _ in range(2)]
            for rows, logits in self.resize.blocks(self.logits[picture, classes]):
                mine = own[rows] == classes[:, None, None]
                p = logits.sigmoid()
                rest = 1 - p
                positive = alpha * rest**gamma * F.softplus(-logits)
                negative = (1 - alpha) * p**gamma * F.softplus(logits)
                self.focal[picture] += ((positive - negative) * mine).sum()
                self.overlap[picture, classes] += (p * mine).sum(dim=(1, 2))
                if self.maps:
                    slope = -gamma * p * positive - alpha * rest ** (gamma + 1)
                    slope -= gamma * rest * negative + (1 - alpha) * p ** (gamma + 1)
                    self.resize.add_back(grids[0], rows, slope * mine)
                    self.resize.add_back(grids[1], rows, p * rest * mine)
            if self.maps:
                self.maps[0][picture, classes] += self.resize.narrowed(grids[0])
                self.maps[2][picture, classes] = self.resize.narrowed(grids[1])


class _Resize:
    """Bilinear resizing (align_corners False) as two matrix products, and its transpose, in blocks of rows."""

    def __init__(self, grid: torch.Size, size: torch.Size, *, like: Tensor) -> None:
        self.down = _resize_matrix(grid[0], size[0], like)
        self.across = _resize_matrix(grid[1], size[1], like)
        self.rows_at_once = max(1, min(size[0], BLOCK_ELEMENTS // (4 * size[1])))
        self.classes_at_once = max(1, BLOCK_ELEMENTS // (self.rows_at_once * size[1]))

    def widened(self, logits: Float[Tensor, "classes grid_height grid_width"]) -> Tensor:
        return logits @ self.across.mT

    def narrowed(self, wide: Float[Tensor, "classes grid_height width"]) -> Tensor:
        return wide @ self.across

    def blocks(
        self, logits: Float[Tensor, "classes grid_height grid_width"]
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield the upsampled logits, some rows of all given classes at a time, and which rows they are."""
        wide = self.widened(logits)
        for first in range(0, len(self.down), self.rows_at_once):
            rows = slice(first, first + self.rows_at_once)
            yield rows, self.down[rows] @ wide

    def add_back(self, wide: Tensor, rows: slice, block: Float[Tensor, "classes rows width"]) -> None:
        """Add the transpose of a block's resizing, still at full width, to `wide`."""
        transposed = self.down[rows].mT.expand(len(block), -1, -1)
        wide.baddbmm_(transposed, block)


def _resize_matrix(length: int, size: int, like: Tensor) -> Float[Tensor, "{size} {length}"]:
    unit = torch.eye(length, dtype=like.dtype, device=like.device)[None]
    return F.interpolate(unit, size=size, mode="linear", align_corners=False)[0].mT.contiguous()


def _pixels_per_class(labels: Tensor, logits: Tensor) -> Float[Tensor, "batch classes"]:
    valid = (labels != IGNORE).flatten(1)
    own = labels.flatten(1).long().masked_fill(~valid, 0)
    counts = torch.zeros(logits.shape[:2], dtype=torch.float32, device=logits.device)
    return counts.scatter_add_(1, own, valid.float())
