"""The function that training calls for a segmentor's maps: optionally compiled, with gradients averaged over processes."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cascade_core.configs.config import Compile
from cascade_core.model.decoder import names_without_gradient
from cascade_core.model.segmentor import Segmentor
from cascade_core.parallel import is_distributed
from cascade_core.runtime.c_compiler import triton_works

TrainingMaps = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
"""Computes the maps of logits on the patch grid whose losses are added, from pictures and class vectors."""


def training_maps_of(segmentor: Segmentor, choice: Compile, device: torch.device) -> TrainingMaps:
    """Return `segmentor.training_maps` for `device`, compiled if `choice` says so.

    'auto' compiles on a GPU if Triton works; on a CPU compiling takes longer than it saves. This compiles the method
    instead of the module, so the names of the weights, and thus checkpoints, stay the same. `fullgraph` raises on a
    graph break, which would silently cost the speed.
    """
    if choice == "auto" and device.type == "cuda" and triton_works("the model is not compiled"):
        choice = "always"
    if choice != "always":
        return segmentor.training_maps
    # The compiler limits the number of variants per process; each training starts with the whole limit.
    torch.compiler.reset()
    return torch.compile(segmentor.training_maps, fullgraph=True, dynamic=False)


def half_precision(device: torch.device, mixed: bool) -> AbstractContextManager[object]:
    """Compute in bf16 where torch deems it safe, if `mixed`."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if mixed else nullcontext()


def data_parallel(segmentor: Segmentor, maps: TrainingMaps) -> TrainingMaps:
    """Wrap `segmentor`'s `training_maps` so that backward passes average gradients over the processes.

    All processes start from the first one's weights. Weights that never get a gradient are not averaged, so no step
    has to search for them; they stay trainable, saved and counted. A single process gets `maps` unchanged.
    """
    if not is_distributed():
        return maps
    dead = names_without_gradient(segmentor)
    excluded = [parameter for name, parameter in segmentor.named_parameters() if name in dead]
    # The wrapper averages the weights that require a gradient when it is created.
    for parameter in excluded:
        parameter.requires_grad_(False)
    replica = DistributedDataParallel(
        _MapsModule(segmentor, maps), forward_sync_buffers=False, gradient_as_bucket_view=True
    )
    for parameter in excluded:
        parameter.requires_grad_(True)
    return replica


class _MapsModule(nn.Module):
    """The module that `DistributedDataParallel` requires; the segmentor registers its weights."""

    def __init__(self, segmentor: Segmentor, maps: TrainingMaps) -> None:
        super().__init__()
        self.segmentor = segmentor
        self.maps = maps

    def forward(self, images: Tensor, class_vectors: Tensor) -> tuple[Tensor, ...]:
        return self.maps(images, class_vectors)
