"""How the levels of a group become the one memory that a decoder reads (Cascade-CLIP section 3).

'gaussian' (published), 'gaussian_fixed', 'uniform' and 'learned' are weighted sums; they differ in the weights' start
and in whether these train. 'concatenated' and 'attention' have weights of their own.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cascade_core.configs.model import PUBLISHED_SIGMA, Aggregation

Memory = Float[Tensor, "batch patches embed"]


def gaussian_weights(count: int, sigma: float = PUBLISHED_SIGMA) -> Float[Tensor, " count"]:
    """Return exp(-x^2 / (2 sigma^2)) for x = count-1 .. 0: the level nearest to the last weighs 1 (Cascade-CLIP eq. 5)."""
    # On the CPU, also where modules are made on `meta`: there a power would import torch's compiler, for seconds.
    distance = torch.arange(count - 1, -1, -1, dtype=torch.float32, device="cpu")
    return torch.exp(-(distance**2) / (2 * sigma**2))


def level_weights(kind: Aggregation, count: int, sigma: float) -> nn.Parameter | None:
    """Return the weights of a group's levels, neither normalised nor followed by a norm; None if `kind` is no sum.

    'gaussian' starts from a Gaussian and 'learned' from ones, and both train; 'gaussian_fixed' and 'uniform' stay.
    """
    if kind in AGGREGATORS:
        return None
    start = gaussian_weights(count, sigma) if kind.startswith("gaussian") else torch.ones(count)
    return nn.Parameter(start, requires_grad=kind in ("gaussian", "learned"))


class ConcatenatedLevels(nn.Module):
    """One linear map of all levels' vectors at a patch."""

    def __init__(self, count: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(count * embed_dim, embed_dim)

    def forward(self, levels: Sequence[Memory]) -> Memory:
        return self.proj(torch.cat(list(levels), dim=-1))


class AttendedLevels(nn.Module):
    """Self-attention of one head among the levels' vectors at a patch; its outputs are summed."""

    def __init__(self, count: int, embed_dim: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(embed_dim, embed_dim) for _ in range(3))

    def forward(self, levels: Sequence[Memory]) -> Memory:
        stacked = torch.stack(list(levels), dim=2)
        mixed = F.scaled_dot_product_attention(self.q(stacked), self.k(stacked), self.v(stacked))
        return mixed.sum(dim=2)


AGGREGATORS: dict[Aggregation, Callable[[int, int], nn.Module]] = {
    "concatenated": ConcatenatedLevels,
    "attention": AttendedLevels,
}
"""The kinds with weights of their own, made from a group's number of levels and the embedding width."""
