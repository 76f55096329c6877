"""The function that training calls for grid logits: optionally compiled, with gradients averaged over processes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cascade_core.configs.config import Compile
from cascade_core.model.decoder import names_without_gradient
from cascade_core.model.segmentor import Segmentor
from cascade_core.parallel import is_distributed
from cascade_core.runtime.c_compiler import triton_works

GridLogits = Callable[[Tensor, Tensor], Tensor]
"""Computes logits on the patch grid from pictures and class vectors; the loss upsamples them in parts."""


def grid_logits_of(segmentor: Segmentor, choice: Compile, device: torch.device) -> GridLogits:
    """Return `segmentor.grid_logits` for `device`, compiled if `choice` says so.

    'auto' compiles on a GPU if Triton works; on a CPU compiling takes longer than it saves. This compiles the method
    instead of the module, so the names of the weights, and thus checkpoints, stay the same. `fullgraph` raises on a
    graph break, which would silently cost the speed.
    """
    if choice == "auto" and device.type == "cuda" and triton_works("the model is not compiled"):
        choice = "always"
    if choice != "always":
        return segmentor.grid_logits
    # The compiler limits the number of variants per process; each training starts with the whole limit.
    torch.compiler.reset()
    return torch.compile(segmentor.grid_logits, fullgraph=True, dynamic=False)


def data_parallel(segmentor: Segmentor, grid_logits: GridLogits) -> GridLogits:
    """Wrap `segmentor`'s `grid_logits` so that backward passes average gradients over the processes.

    All processes start from the first one's weights. Weights that never get a gradient are not averaged, so no step
    has to search for them; they stay trainable, saved and counted. A single process gets `grid_logits` unchanged.
    """
    if not is_distributed():
        return grid_logits
    dead = names_without_gradient(segmentor)
    excluded = [parameter for name, parameter in segmentor.named_parameters() if name in dead]
    # The wrapper averages the weights that require a gradient when it is created.
    for parameter in excluded:
        parameter.requires_grad_(False)
    replica = DistributedDataParallel(
        _GridLogitsModule(segmentor, grid_logits), forward_sync_buffers=False, gradient_as_bucket_view=True
    )
    for parameter in excluded:
        parameter.requires_grad_(True)
    return replica


class _GridLogitsModule(nn.Module):
    """The module that `DistributedDataParallel` requires; the segmentor registers its weights."""

    def __init__(self, segmentor: Segmentor, grid_logits: GridLogits) -> None:
        super().__init__()
        self.segmentor = segmentor
        self.grid_logits = grid_logits

    def forward(self, images: Tensor, class_vectors: Tensor) -> Tensor:
        return self.grid_logits(images, class_vectors)
