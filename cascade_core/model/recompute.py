"""Memory for time, where time is little: parts whose intermediate values are computed anew instead of kept."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Float[Tensor, "*axes"]], *inputs: Tensor) -> Float[Tensor, "*axes"]:
    """Return `function(*inputs)`, keeping its inputs alone for the backward pass, which calls it once more.

    Dropout draws the same again. Worth it where `function` holds much and computes little. Without gradients it is
    a mere call; and so it is inside `torch.compile`, whose partitioner decides by itself what to keep.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return function(*inputs)
    kept: Tensor = checkpoint(function, *inputs, use_reentrant=False)
    return kept
