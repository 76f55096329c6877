"""CLIP's text tower, and the class vectors it gives for names x templates."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from cascade_core.clip.transformer import ResidualBlock, initialise_blocks
from cascade_core.config import ClipConfig


@runtime_checkable
class Tokenizer(Protocol):
    """Turns texts into token rows whose highest id marks the end, as CLIP's do."""

    def __call__(self, texts: list[str]) -> Int[Tensor, "texts context"]: ...


class TextTransformer(nn.Module):
    """The causal transformer of CLIP's text side."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.text_width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(config.context_length, config.text_width))
        self.blocks = nn.ModuleList(
            ResidualBlock(config.text_width, config.text_heads, config.activation)
            for _ in range(config.text_layers)
        )
        self.ln_final = nn.LayerNorm(config.text_width)
        self.text_projection = nn.Parameter(
            config.text_width**-0.5 * torch.randn(config.text_width, config.embed_dim)
        )
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        initialise_blocks(self.blocks, config.text_width)

    def encode_text(self, tokens: Int[Tensor, "texts context"]) -> Float[Tensor, "texts embed"]:
        """Return text embeddings (not normalised), read at the end token, the highest id of a row."""
        states = self.token_embedding(tokens) + self.positional_embedding
        for block in self.blocks:
            states = block(states, causal=True)
        states = self.ln_final(states)
        return states[torch.arange(len(states)), tokens.argmax(dim=-1)] @ self.text_projection


@torch.no_grad()
def class_vectors(
    text: TextTransformer,
    tokenizer: Tokenizer,
    names: Sequence[str],
    templates: Sequence[str],
    *,
    batch_size: int = 256,
) -> Float[Tensor, "classes embed"]:
    """Return one unit vector per class: each template's vector normalised, averaged, renormalised.

    Raises:
        ValueError: no name or template is given, or a template lacks its `{}`.
    """
    if not names or not templates:
        raise ValueError(
            f"class vectors need names and templates; got {len(names)} names, {len(templates)} templates"
        )
    for template in templates:
        if "{}" not in template:
            raise ValueError(f"template {template!r} has no '{{}}' for the class name")
    texts = [template.format(name) for name in names for template in templates]
    device = text.text_projection.device
    rows = [
        F.normalize(text.encode_text(tokenizer(texts[start : start + batch_size]).to(device)), dim=-1)
        for start in range(0, len(texts), batch_size)
    ]
    per_template = torch.cat(rows).unflatten(0, (len(names), len(templates)))
    return F.normalize(per_template.mean(dim=1), dim=-1)
