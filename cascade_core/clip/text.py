"""CLIP's text tower, and the class vectors it gives for names x templates."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from cascade_core.clip.transformer import ResidualBlock, initialise_blocks
from cascade_core.configs.config import ClipConfig
from cascade_core.errors import UserError


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
    synonyms: Sequence[Sequence[str]] = (),
    batch_size: int = 256,
    on_batch: Callable[[int], None] = lambda texts_done: None,
) -> Float[Tensor, "classes embed"]:
    """Return one unit vector per class: each template's vector normalised, averaged, renormalised.

    `synonyms` gives further names of each class, none or one list per name; each has its own vector made, and
    their mean, renormalised, is the class's: every name of a class counts alike. No more than `batch_size`
    texts, but at least one name's, are in memory at a time; `on_batch` hears how many are done, of
    `num_texts`.

    Raises:
        UserError: no name or template is given, a template lacks its `{}`, the synonyms are not as many as the
            names, or the tokenizer refuses a text: then the message begins with the label. All before any text
            is encoded.
    """
    classes = _named(names, synonyms)
    words = [word for named in classes for word in named]
    _check_templates(templates, num_names=len(names))
    for word in words:
        _tokens(tokenizer, word, templates)
    device, rows = text.text_projection.device, []
    words_per_batch = max(1, batch_size // len(templates))
    for start in range(0, len(words), words_per_batch):
        batch = words[start : start + words_per_batch]
        tokens = torch.cat([_tokens(tokenizer, word, templates) for word in batch]).to(device)
        vectors = F.normalize(text.encode_text(tokens), dim=-1).unflatten(0, (len(batch), len(templates)))
        rows.append(F.normalize(vectors.mean(dim=1), dim=-1))
        on_batch((start + len(batch)) * len(templates))
    return _averaged(torch.cat(rows), [len(named) for named in classes])


def num_texts(names: Sequence[str], templates: Sequence[str], synonyms: Sequence[Sequence[str]] = ()) -> int:
    """Give the number of texts that class vectors are made of."""
    return (len(names) + sum(len(others) for others in synonyms)) * len(templates)


def _named(names: Sequence[str], synonyms: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Give each class's name followed by its synonyms."""
    if synonyms and len(synonyms) != len(names):
        raise UserError(
            f"{len(synonyms)} lists of synonyms for {len(names)} names; give one for each, empty ones too"
        )
    return [(name, *others) for name, others in zip(names, synonyms or [()] * len(names), strict=True)]


def _check_templates(templates: Sequence[str], *, num_names: int) -> None:
    if not num_names or not templates:
        raise UserError(
            f"class vectors need names and templates; got {num_names} names, {len(templates)} templates"
        )
    for template in templates:
        if "{}" not in template:
            raise UserError(f"template {template!r} has no '{{}}' for the class name")


def _tokens(tokenizer: Tokenizer, word: str, templates: Sequence[str]) -> Int[Tensor, "templates context"]:
    try:
        # Not str.format: a template may hold other braces.
        return tokenizer([template.replace("{}", word) for template in templates])
    except UserError as error:
        raise UserError(f"label {word!r}: {error}") from error


def _averaged(words: Float[Tensor, "words embed"], counts: Sequence[int]) -> Float[Tensor, "classes embed"]:
    """Average the vectors of each class's names; a class of one name keeps its vector to the bit."""
    if len(words) == len(counts):
        return words
    classes = [
        group[0] if len(group) == 1 else F.normalize(group.mean(dim=0), dim=-1)
        for group in words.split(list(counts))
    ]
    return torch.stack(classes)
