"""The pre-norm residual attention block of CLIP's image tower and text tower."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cascade_core.errors import UserError

Tokens = Float[Tensor, "batch tokens width"]
Prompts = Float[Tensor, "batch prompts width"]
Heads = Float[Tensor, "batch heads tokens head_width"]


class QuickGELU(nn.Module):
    """OpenAI CLIP's approximation of GELU: x * sigmoid(1.702 x).

    Computed as the equal silu(1.702 x) / 1.702: torch has kernels for it, and backward needs one tensor, not two.
    """

    def forward(self, inputs: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        return F.silu(1.702 * inputs).div_(1.702)


class FusedAttention(nn.Module):
    """Multi-head self-attention with one fused input projection, named as in CLIP's checkpoints."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"heads={heads} must divide width={width}")
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, tokens: Tokens, prompts: Prompts | None = None, *, causal: bool = False) -> Tokens:
        """Return the attention of `tokens` over tokens and `prompts`; prompts are keys and values, never queries."""
        if prompts is None:
            query, key, value = self.projected(tokens)
        else:
            width = tokens.shape[-1]
            query_weight, rest_weight = self.input_weight().split([width, 2 * width])
            query_bias, rest_bias = self.in_proj_bias.split([width, 2 * width])
            attended = torch.cat([tokens, prompts], dim=1)
            (query,) = self._heads(F.linear(tokens, query_weight, query_bias), 1)
            key, value = self._heads(F.linear(attended, rest_weight, rest_bias), 2)
        return self.joined(F.scaled_dot_product_attention(query, key, value, is_causal=causal))

    def projected(self, tokens: Tokens) -> tuple[Heads, Heads, Heads]:
        """Return queries, keys and values of every head, biases included."""
        query, key, value = self._heads(F.linear(tokens, self.input_weight(), self.in_proj_bias), 3)
        return query, key, value

    def input_weight(self) -> Float[Tensor, "inputs width"]:
        """Return the weights of queries, keys and values, one below the other."""
        return self.in_proj_weight

    def joined(self, heads: Heads) -> Tokens:
        """Concatenate the heads' outputs and apply the output projection."""
        return self.out_proj(heads.transpose(1, 2).flatten(2))

    def _heads(
        self, projected: Float[Tensor, "batch tokens widths"], parts: int
    ) -> Float[Tensor, "parts batch heads tokens head_width"]:
        return projected.unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4)


class FeedForward(nn.Module):
    """The two-layer perceptron of a block, 4 times as wide inside unless `hidden` says otherwise."""

    def __init__(
        self, width: int, activation: Literal["quick_gelu", "gelu"], hidden: int | None = None
    ) -> None:
        super().__init__()
        hidden = hidden or 4 * width
        self.c_fc = nn.Linear(width, hidden)
        self.activation = QuickGELU() if activation == "quick_gelu" else nn.GELU()
        self.c_proj = nn.Linear(hidden, width)

    def forward(self, tokens: Tokens) -> Tokens:
        return self.c_proj(self.activation(self.c_fc(tokens)))


class ResidualBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), without dropout or stochastic depth.

    The released segmentation code configures a drop-path rate, but its blocks never use it.
    """

    def __init__(
        self, width: int, heads: int, activation: Literal["quick_gelu", "gelu"], hidden: int | None = None
    ) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = FusedAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width, activation, hidden)

    def forward(self, tokens: Tokens, prompts: Prompts | None = None, *, causal: bool = False) -> Tokens:
        """Return `tokens` after the block.

        Tokens attend to `prompts` too. The prompts' own output is not computed: the next block has new prompts.
        """
        attended = None if prompts is None else self.ln_1(prompts)
        tokens = tokens + self.attn(self.ln_1(tokens), attended, causal=causal)
        return tokens + self.mlp(self.ln_2(tokens))


def initialise_blocks(blocks: nn.ModuleList, width: int) -> None:
    """Initialise `blocks` in place as CLIP's pretraining does, with depth-scaled normal distributions."""
    attention_std = width**-0.5
    residual_std = attention_std * (2 * len(blocks)) ** -0.5
    for block in blocks:
        assert isinstance(block, ResidualBlock)
        nn.init.normal_(block.attn.in_proj_weight, std=attention_std)
        nn.init.normal_(block.attn.out_proj.weight, std=residual_std)
        nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(block.mlp.c_proj.weight, std=residual_std)
