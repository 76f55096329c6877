"""Sums of focal and dice terms over bilinearly upsampled logits, without holding all of these in memory.

Logits live on a patch grid, labels on pixels. At 512 x 512 pixels the upsampled logits of a batch of 4 with 156
classes take 650 MB, and each step of the published loss takes as much again. Each of the three sums has a map on the
grid as its gradient, so the gradient of their weighted sum is the weighted sum of the maps. One pass over the pixels
computes sums and maps: in blocks on any device (`blocks.py`), or by a kernel on GPUs (`triton_kernels.py`).
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cascade_core.losses.blocks import FocalConstants, GridLogits, Labels, PixelSums, Totals, blocked_sums
from cascade_core.losses.resize import resize_to
from cascade_core.runtime.autocast import in_float32
from cascade_core.runtime.c_compiler import triton_works


def pixel_sums(
    grid_logits: GridLogits, labels: Labels, constants: FocalConstants, *, mask_size: tuple[int, int]
) -> PixelSums:
    """Return the sums over `grid_logits` resized bilinearly to `mask_size`, and from there to the labels' size.

    `labels` hold ids 0..classes-1 and `IGNORE`. All sums but `pixels` are differentiable once. Half-precision logits
    give sums in single precision, also under autocast.
    """
    # Checked here: inside `forward` gradients are off, and a leaf requires its gradient even under `torch.no_grad`.
    with_maps = grid_logits.requires_grad and torch.is_grad_enabled()
    with in_float32(grid_logits.device):
        focal, probability, overlap, pixels = _PixelSums.apply(
            grid_logits, labels, constants, mask_size, with_maps
        )
    return PixelSums(focal, probability, overlap, pixels)


class _PixelSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        grid_logits: Tensor,
        labels: Tensor,
        constants: FocalConstants,
        mask_size: tuple[int, int],
        with_maps: bool,
    ) -> PixelSums:
        sums, maps = _summed(
            grid_logits.detach(), labels, constants, mask_size=mask_size, with_maps=with_maps
        )
        ctx.mark_non_differentiable(sums.pixels)
        ctx.save_for_backward(*maps)
        ctx.dtype = grid_logits.dtype
        return sums

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        of_focal, of_probability, of_overlap, _ = gradients
        focal, probability, overlap = ctx.saved_tensors
        gradient = focal * of_focal[:, None, None, None]
        gradient += probability * of_probability[..., None, None]
        gradient += overlap * of_overlap[..., None, None]
        return gradient.to(ctx.dtype), None, None, None, None


def _summed(
    logits: Tensor, labels: Tensor, constants: FocalConstants, *, mask_size: tuple[int, int], with_maps: bool
) -> Totals:
    size = (labels.shape[-2], labels.shape[-1])
    if _kernel_applies(logits, in_one_step=mask_size == size):
        # Imported here because Triton exists for GPUs only.
        from cascade_core.losses.triton_kernels import kernel_sums

        return kernel_sums(logits, labels, constants, with_maps=with_maps)
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    resize = resize_to(
        size,
        grid=(logits.shape[-2], logits.shape[-1]),
        mask_size=mask_size,
        dtype=exact.dtype,
        device=exact.device,
    )
    return blocked_sums(exact, labels, resize, constants, with_maps=with_maps)


def _kernel_applies(logits: Tensor, *, in_one_step: bool) -> bool:
    """Return whether the kernel can be used: it needs single precision and one resizing step."""
    return logits.is_cuda and in_one_step and logits.dtype != torch.float64 and _triton_works()


@cache
def _triton_works() -> bool:
    """Return whether Triton works here; if not, log the reason once."""
    return triton_works("the loss is summed in blocks, not by its GPU kernel")
