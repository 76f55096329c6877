"""The last block of CLIP's image tower as the training-free methods run it, so that each patch shows its own content.

In CLIP's own last block, patches collect what the CLS token needs of the whole picture. MaskCLIP (Zhou et al. 2022)
keeps every token's own value, SCLIP (Wang et al. 2024) attends by similar queries and by similar keys, ClearCLIP (Lan
et al. 2024) by similar queries, and NACLIP (Hajimiri et al. 2025) by similar keys and to the neighbourhood. The last
two drop the residual connection and the feed-forward. CAT-Seg (Cho et al. 2024) keeps the values, and adds the CLS token's
input to every token in place of its own.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cascade_core.clip.transformer import Heads, ResidualBlock, Tokens
from cascade_core.configs.model import LastBlock

BIAS_NUMBERS = 2**24
"""The most numbers of a distance bias that exist at a time; for more, queries attend in parts."""


def dense_tokens(block: ResidualBlock, tokens: Tokens, last: LastBlock, grid: tuple[int, int]) -> Tokens:
    """Return [CLS, patches] after the last block with the attention, residual and feed-forward of `last`.

    `grid` is the patches' height and width. The CLS token is no longer that of the picture, except with CLIP's own
    settings.
    """
    query, key, value = block.attn.projected(block.ln_1(tokens))
    match last.attention:
        case "vanilla":
            mixed = F.scaled_dot_product_attention(query, key, value)
        case "value":
            mixed = value
        case "qq_kk":
            # The sum of two softmaxes, whose rows add up to 2, as published.
            mixed = F.scaled_dot_product_attention(query, query, value)
            mixed = mixed + F.scaled_dot_product_attention(key, key, value)
        case "qq":
            mixed = F.scaled_dot_product_attention(query, query, value)
        case "kk_neighbours":
            mixed = _neighbours(key, value, grid, last.sigma)
    attended = block.attn.joined(mixed)
    if last.residual:
        attended = attended + (tokens if last.residual_of == "token" else tokens[:, :1])
    return attended + block.mlp(block.ln_2(attended)) if last.feedforward else attended


def _neighbours(key: Heads, value: Heads, grid: tuple[int, int], sigma: float) -> Heads:
    """Attend by similar keys and to neighbours; the bias of a large grid is made in parts, which changes nothing."""
    parts = [
        F.scaled_dot_product_attention(key[..., rows, :], key, value, attn_mask=bias.to(key))
        for rows, bias in _bias_parts(grid, sigma, key.device)
    ]
    return torch.cat(parts, dim=-2)


def _bias_parts(grid: tuple[int, int], sigma: float, device: torch.device) -> Iterator[tuple[slice, Tensor]]:
    height, width = grid
    tokens = 1 + height * width
    if torch.compiler.is_exporting():
        yield slice(None), distance_bias(grid, sigma, device=device)
        return
    step = max(1, BIAS_NUMBERS // tokens)
    for first in range(0, tokens, step):
        last = min(first + step, tokens)
        yield slice(first, last), distance_bias(grid, sigma, first, last, device=device)


def distance_bias(
    grid: tuple[int, int],
    sigma: float,
    first: int = 0,
    last: int | None = None,
    *,
    device: torch.device | None = None,
) -> Float[Tensor, "queries tokens"]:
    """Return what NACLIP adds to the scaled products of the tokens first..last-1 with all: exp(-d^2 / (2 sigma^2)).

    d is the distance of two patches, in patches. The CLS token's row and column are zero.
    """
    (height, width), rows = grid, slice(first, last)
    down, across = torch.arange(height, device=device), torch.arange(width, device=device)
    places = down[:, None].expand(height, width), across.expand(height, width)
    # In front the CLS token, which has no place: its row is set to zero below.
    i, j = (F.pad(place.flatten(), (1, 0))[rows, None] for place in places)
    bell_down, bell_across = (
        torch.exp(-((at - side) ** 2) / (2 * sigma**2)) for at, side in ((i, down), (j, across))
    )
    bias = (bell_down[:, :, None] * bell_across[:, None, :]).flatten(1)
    is_patch = F.pad(torch.ones(height * width, device=device), (1, 0))[rows, None]
    return F.pad(bias * is_patch, (1, 0))
