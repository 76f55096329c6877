"""Deep visual prompts, the only trainable part of the trunk (Visual Prompt Tuning; ZegCLIP section 3.2)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class DeepPrompts(nn.Module):
    """New prompt tokens for every block, their shared projection, and the norm of the trunk's output.

    The tokens of the first block are `prompt_embeddings`, those of block i >= 1 are row i-1 of
    `deep_prompt_embeddings`; they replace the previous block's prompts.
    """

    def __init__(self, *, num_prompts: int, layers: int, width: int, patch_size: int, dropout: float) -> None:
        super().__init__()
        self.num_prompts = num_prompts
        bound = math.sqrt(6 / (3 * patch_size**2 + width))
        self.prompt_embeddings = nn.Parameter(torch.empty(1, num_prompts, width).uniform_(-bound, bound))
        self.deep_prompt_embeddings = nn.Parameter(
            torch.empty(layers - 1, num_prompts, width).uniform_(-bound, bound)
        )
        self.prompt_proj = nn.Linear(width, width)
        nn.init.kaiming_normal_(self.prompt_proj.weight, a=0, mode="fan_out")
        # eps differs from CLIP's own norms (1e-5), as published.
        self.prompt_norm = nn.LayerNorm(width, eps=1e-6)
        self.dropout = nn.Dropout(dropout)

    def tokens(self, block: int, batch: int) -> Float[Tensor, "batch prompts width"]:
        """Return the prompt tokens that enter `block`, with dropout of their own for each picture."""
        embeddings = self.prompt_embeddings if block == 0 else self.deep_prompt_embeddings[block - 1 : block]
        return self.dropout(self.prompt_proj(embeddings).expand(batch, -1, -1))
