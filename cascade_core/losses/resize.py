"""Bilinear resizing (align_corners False) of maps on the patch grid: at once, or as two matrices, one per axis."""

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class Resize(NamedTuple):
    """What takes maps on a grid to their size on pixels: `down @ maps @ across.mT`."""

    down: Float[Tensor, "height grid_height"]
    across: Float[Tensor, "width grid_width"]


# Every training step asks for the same: on a GPU, copying it there anew would wait for what runs.
@lru_cache(maxsize=16)
def resize_to(
    size: tuple[int, int],
    *,
    grid: tuple[int, int],
    mask_size: tuple[int, int],
    dtype: torch.dtype,
    device: torch.device,
) -> Resize:
    """Return the resizing from `grid` to `mask_size`, and from there to `size` where that differs (published)."""
    down, across = (
        resize_matrix(through, end) @ resize_matrix(start, through)
        if through != end
        else resize_matrix(start, end)
        for start, through, end in zip(grid, mask_size, size, strict=True)
    )
    return Resize(down.to(device, dtype), across.to(device, dtype))


def resize_matrix(length: int, size: int) -> Float[Tensor, "{size} {length}"]:
    """Return the weights that take an axis of `length` cells to `size` pixels."""
    unit = torch.eye(length, dtype=torch.float64)[None]
    return F.interpolate(unit, size=size, mode="linear", align_corners=False)[0].mT.contiguous()


def resize_logits(
    grid_logits: Float[Tensor, "batch classes grid_height grid_width"],
    mask_size: tuple[int, int],
    size: tuple[int, int],
) -> Float[Tensor, "batch classes {size[0]} {size[1]}"]:
    """Return logits resized bilinearly to the size of masks, and from there to `size` where that differs."""
    for wanted in (mask_size, size):
        if grid_logits.shape[-2:] != wanted:
            grid_logits = F.interpolate(grid_logits, size=wanted, mode="bilinear", align_corners=False)
    return grid_logits
