"""CLIP's text tower, and the class vectors it computes from names and templates."""

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from cascade_core.clip.tokenizers import Tokenizer
from cascade_core.clip.transformer import ResidualBlock, initialise_blocks
from cascade_core.configs.model import ClipConfig
from cascade_core.errors import UserError

SHORT_CONTEXT = 32
"""Texts of a context up to this length are not cut: there is little to save, and their vectors stay the same to the bit."""
TEXTS_AT_ONCE = 256
LABELS_AT_ONCE = 1024
"""So many labels are sorted by length together; the texts of all labels might not fit into memory."""


class TextTransformer(nn.Module):
    """CLIP's causal text transformer."""

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

    def encode_text(self, tokens: Int[Tensor, "texts positions"]) -> Float[Tensor, "texts embed"]:
        """Return text embeddings, not normalised, read at the end token: the highest id of a row.

        Rows may be cut after the last end token: attention is causal, so that no position after it counts.
        """
        states = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
        for block in self.blocks:
            states = block(states, causal=True)
        states = self.ln_final(states)
        return (
            states[torch.arange(len(states), device=states.device), tokens.argmax(dim=-1)]
            @ self.text_projection
        )

    def class_embeddings(
        self, tokens: Int[Tensor, "classes templates positions"]
    ) -> Float[Tensor, "classes embed"]:
        """Return the vector of each class from the tokens of its templates: unit vectors, averaged, renormalised.

        In contrast to `class_vectors`, gradients flow into the tower.
        """
        parts = [self.encode_text(part) for part in tokens.flatten(0, 1).split(TEXTS_AT_ONCE)]
        vectors = F.normalize(torch.cat(parts), dim=-1).unflatten(0, tokens.shape[:2])
        return mean_over_templates(vectors)


@torch.no_grad()
def class_vectors(
    text: TextTransformer,
    tokenizer: Tokenizer,
    names: Sequence[str],
    templates: Sequence[str],
    *,
    synonyms: Sequence[Sequence[str]] = (),
    batch_size: int = 64,
    on_batch: Callable[[int], None] = lambda texts_done: None,
) -> Float[Tensor, "classes embed"]:
    """Return one unit vector per class: normalised text embeddings, averaged over templates, renormalised.

    Args:
        text: the text tower.
        tokenizer: the tokenizer of the same CLIP.
        names: one name per class.
        templates: texts with `{}` in place of a name.
        synonyms: further names, a list per class or no list at all. A class's vector is the renormalised mean of
            its names' vectors.
        batch_size: number of texts encoded at a time.
        on_batch: called with the number of texts encoded so far; `num_texts` returns the total.

    Raises:
        UserError: before any text is encoded, if there is no name or template, a template lacks its `{}`, there
            is not one list of synonyms per name, or the tokenizer refuses a text of a label.
    """
    _check_texts(names, templates)
    if synonyms and len(synonyms) != len(names):
        raise UserError(
            f"{len(synonyms)} lists of synonyms for {len(names)} names; give one for each, empty ones too"
        )
    classes = [[name, *others] for name, others in zip(names, synonyms or [()] * len(names), strict=True)]
    labels = [label for class_labels in classes for label in class_labels]
    parts = _template_vectors(text, tokenizer, labels, templates, batch_size, on_batch)
    rows = [mean_over_templates(vectors) for vectors in parts]
    return class_means(torch.cat(rows), [len(class_labels) for class_labels in classes])


@torch.no_grad()
def template_vectors(
    text: TextTransformer,
    tokenizer: Tokenizer,
    names: Sequence[str],
    templates: Sequence[str],
    *,
    batch_size: int = 64,
    on_batch: Callable[[int], None] = lambda texts_done: None,
) -> Float[Tensor, "names templates embed"]:
    """Return a unit vector per name and template; `mean_over_templates` makes the name's class vector of them.

    Raises:
        UserError: as `class_vectors`.
    """
    _check_texts(names, templates)
    return torch.cat(list(_template_vectors(text, tokenizer, names, templates, batch_size, on_batch)))


def text_tokens(
    tokenizer: Tokenizer, names: Sequence[str], templates: Sequence[str]
) -> Int[Tensor, "names templates context"]:
    """Return the token ids of every name in every template.

    Raises:
        UserError: as `class_vectors`.
    """
    _check_texts(names, templates)
    return torch.stack([_tokens(tokenizer, name, templates) for name in names])


def mean_over_templates(vectors: Float[Tensor, "names templates embed"]) -> Float[Tensor, "names embed"]:
    """Return the mean of each name's vectors, renormalised."""
    return F.normalize(vectors.mean(dim=1), dim=-1)


def _template_vectors(
    text: TextTransformer,
    tokenizer: Tokenizer,
    labels: Sequence[str],
    templates: Sequence[str],
    batch_size: int,
    on_batch: Callable[[int], None],
) -> Iterator[Float[Tensor, "part templates embed"]]:
    """Yield the vectors of some labels at a time, in order; all are checked before the first are encoded.

    The tower encodes texts of similar length together, cut after the last end token.
    """
    tokens = [_tokens(tokenizer, label, templates) for label in labels]
    for start in range(0, len(labels), LABELS_AT_ONCE):
        part, count = torch.stack(tokens[start : start + LABELS_AT_ONCE]), start * len(templates)
        embeddings = _embeddings(text, part.flatten(0, 1), batch_size, on_batch, count=count)
        yield F.normalize(embeddings, dim=-1).unflatten(0, part.shape[:2])


def _check_texts(names: Sequence[str], templates: Sequence[str]) -> None:
    if not names or not templates:
        raise UserError(
            f"class vectors need names and templates; got {len(names)} names, {len(templates)} templates"
        )
    for template in templates:
        if "{}" not in template:
            raise UserError(f"template {template!r} has no '{{}}' for the class name")


def _embeddings(
    text: TextTransformer,
    tokens: Int[Tensor, "texts context"],
    batch_size: int,
    on_batch: Callable[[int], None],
    *,
    count: int,
) -> Float[Tensor, "texts embed"]:
    """Return the text embeddings of rows of tokens, shortest texts first through the tower, after `count` other texts."""
    device = text.text_projection.device
    lengths = tokens.argmax(dim=-1) + 1
    if tokens.shape[1] <= SHORT_CONTEXT:
        lengths = torch.full_like(lengths, tokens.shape[1])
    order, parts = lengths.argsort(stable=True), []
    for batch in order.split(batch_size):
        parts.append(text.encode_text(tokens[batch, : lengths[batch].max()].to(device)))
        on_batch(count + sum(map(len, parts)))
    return torch.cat(parts)[order.argsort().to(device)]


def num_texts(names: Sequence[str], templates: Sequence[str], synonyms: Sequence[Sequence[str]] = ()) -> int:
    """Return the number of texts that `class_vectors` encodes."""
    return (len(names) + sum(map(len, synonyms))) * len(templates)


def _tokens(tokenizer: Tokenizer, label: str, templates: Sequence[str]) -> Int[Tensor, "templates context"]:
    try:
        # Not str.format: a template may hold other braces.
        return tokenizer([template.replace("{}", label) for template in templates])
    except UserError as error:
        raise UserError(f"label {label!r}: {error}") from error


def first_rows(
    rows: Int[Tensor, "labels templates context"], counts: Sequence[int]
) -> Int[Tensor, "classes templates context"]:
    """Return the row of each class's first label; the labels are in the order of their classes, `counts` for each."""
    return torch.stack([group[0] for group in rows.split(list(counts))])


def class_means(
    vectors: Float[Tensor, "labels *templates embed"], counts: Sequence[int]
) -> Float[Tensor, "classes *templates embed"]:
    """Average the vectors of each class's labels, renormalised; a class with one label keeps its vector to the bit.

    Vectors of single templates are averaged for each template.

    The labels are in the order of their classes, of which each has a number of them in `counts`.
    """
    groups = vectors.split(list(counts))
    return torch.stack(
        [group[0] if len(group) == 1 else F.normalize(group.mean(dim=0), dim=-1) for group in groups]
    )
