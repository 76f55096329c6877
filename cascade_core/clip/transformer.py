"""The pre-norm residual attention block of CLIP, shared by its image and its text tower."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class QuickGELU(nn.Module):
    """OpenAI CLIP's approximation of GELU: x * sigmoid(1.702 x)."""

    def forward(self, inputs: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        return inputs * torch.sigmoid(1.702 * inputs)


class FusedAttention(nn.Module):
    """Multi-head self-attention with one fused input projection, named as in CLIP's checkpoints."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads={heads} must divide width={width}")
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, tokens: Float[Tensor, "batch tokens width"], *, causal: bool
    ) -> Float[Tensor, "batch tokens width"]:
        projected = F.linear(tokens, self.in_proj_weight, self.in_proj_bias)
        query, key, value = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """The two-layer perceptron of a block."""

    def __init__(self, width: int, activation: Literal["quick_gelu", "gelu"]) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.activation = QuickGELU() if activation == "quick_gelu" else nn.GELU()
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self.c_proj(self.activation(self.c_fc(tokens)))


class ResidualBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)). No dropout and no stochastic depth.

    The released segmentation code configures a drop-path rate that its blocks never use, so none is here.
    """

    def __init__(self, width: int, heads: int, activation: Literal["quick_gelu", "gelu"]) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = FusedAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width, activation)

    def forward(
        self, tokens: Float[Tensor, "batch tokens width"], *, causal: bool = False
    ) -> Float[Tensor, "batch tokens width"]:
        tokens = tokens + self.attn(self.ln_1(tokens), causal=causal)
        return tokens + self.mlp(self.ln_2(tokens))


def initialise_blocks(blocks: nn.ModuleList, width: int) -> None:
    """Draw CLIP's pretraining initialisation (depth-scaled normals) for `blocks`, in place."""
    attention_std = width**-0.5
    residual_std = attention_std * (2 * len(blocks)) ** -0.5
    for block in blocks:
        assert isinstance(block, ResidualBlock)
        nn.init.normal_(block.attn.in_proj_weight, std=attention_std)
        nn.init.normal_(block.attn.out_proj.weight, std=residual_std)
        nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(block.mlp.c_proj.weight, std=residual_std)
