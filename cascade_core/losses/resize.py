"""Bilinear resizing (align_corners False) of maps on the patch grid, directly or as one matrix per axis."""

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class Resize(NamedTuple):
    """The matrices that resize maps on a grid to pixels: `down @ maps @ across.mT`."""

    down: Float[Tensor, "height grid_height"]
    across: Float[Tensor, "width grid_width"]


# Cached: every training step needs the same matrices, and copying them to a GPU is a device sync.
@lru_cache(maxsize=16)
def resize_to(
    size: tuple[int, int],
    *,
    grid: tuple[int, int],
    mask_size: tuple[int, int],
    dtype: torch.dtype,
    device: torch.device,
) -> Resize:
    """Return the resizing from `grid` to `mask_size`, and from there, if it differs, to `size` (as published)."""
    down, across = (
        resize_matrix(through, end) @ resize_matrix(start, through)
        if through != end
        else resize_matrix(start, end)
        for start, through, end in zip(grid, mask_size, size, strict=True)
    )
    return Resize(down.to(device, dtype), across.to(device, dtype))


def resize_matrix(length: int, size: int) -> Float[Tensor, "{size} {length}"]:
    """Return the matrix that resizes an axis of `length` cells to `size` pixels."""
    unit = torch.eye(length, dtype=torch.float64)[None]
    return F.interpolate(unit, size=size, mode="linear", align_corners=False)[0].mT.contiguous()


def resize_logits(
    grid_logits: Float[Tensor, "batch classes grid_height grid_width"],
    mask_size: tuple[int, int],
    size: tuple[int, int],
) -> Float[Tensor, "batch classes {size[0]} {size[1]}"]:
    """Resize logits bilinearly to the size of masks, and from there, if it differs, to `size`."""
    for target in (mask_size, size):
        if grid_logits.shape[-2:] != target:
            grid_logits = F.interpolate(grid_logits, size=target, mode="bilinear", align_corners=False)
    return grid_logits
