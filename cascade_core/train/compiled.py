"""What training runs of a segmentor: as it is written, or compiled into kernels for the device at hand."""

from collections.abc import Callable

import torch
from torch import Tensor

from cascade_core.configs.config import Compile
from cascade_core.model.segmentor import Segmentor
from cascade_core.runtime.c_compiler import triton_works

GridLogits = Callable[[Tensor, Tensor], Tensor]
"""From pictures and class vectors to logits on the patch grid; the loss knows how to upsample in parts."""


def grid_logits_of(segmentor: Segmentor, choice: Compile, device: torch.device) -> GridLogits:
    """Return what gives `segmentor`'s grid logits on `device`, compiled if `choice` says so.

    'auto' compiles on a GPU where Triton has all that it needs; on a processor compiling takes longer than it
    saves. The method is compiled, not the module: names of weights, and so checkpoints, stay what they
    are. In one graph or not at all: a break would cost unseen what compiling is for.
    """
    if choice == "auto" and device.type == "cuda" and triton_works("the model is not compiled"):
        choice = "always"
    if choice != "always":
        return segmentor.grid_logits
    # Of the trainings of one process, each has the compiler's whole number of variants for itself.
    torch.compiler.reset()
    return torch.compile(segmentor.grid_logits, fullgraph=True, dynamic=False)
