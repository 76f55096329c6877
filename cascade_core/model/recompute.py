"""Activation checkpointing: recompute cheap parts in the backward pass instead of storing their activations."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Float[Tensor, "*axes"]], *inputs: Tensor) -> Float[Tensor, "*axes"]:
    """Return `function(*inputs)`, storing only the inputs; the backward pass calls `function` again.

    Dropout uses the same mask in both calls. Without gradients this is a plain call, and also inside `torch.compile`,
    whose partitioner chooses the stored activations itself.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return function(*inputs)
    outputs: Tensor = checkpoint(function, *inputs, use_reentrant=False)
    return outputs
