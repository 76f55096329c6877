"""The vectors of some texts in the forms that a text-vectors folder keeps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float, Int
from torch import Tensor

from cascade_core.clip.text import class_means, first_rows, mean_over_templates, text_tokens
from cascade_core.clip.weights import load_tokenizer
from cascade_core.errors import UserError
from components.vectors.random_vectors import random_template_vectors, random_vectors
from components.vectors.text_cache import cached_class_vectors
from components.vectors.vector_files import read_vectors


@dataclass(frozen=True)
class TextRows:
    """The vectors of names, averaged over the templates, and, where they are kept, those of the single templates and the tokens."""

    mean: Float[Tensor, "names embed"]
    by_template: Float[Tensor, "names templates embed"] | None = None
    tokens: Int[Tensor, "names templates context"] | None = None

    @classmethod
    def of(
        cls,
        rows: Float[Tensor, "names *templates embed"],
        tokens: Int[Tensor, "names templates context"] | None = None,
    ) -> "TextRows":
        """Return vectors of either form, with their means."""
        return cls(rows) if rows.ndim == 2 else cls(mean_over_templates(rows), rows, tokens)

    def of_classes(self, counts: Sequence[int]) -> "TextRows":
        """Return the rows of classes, which have numbers of names in `counts`: the mean vectors, and the first name's tokens."""
        by_template = None if self.by_template is None else class_means(self.by_template, counts)
        tokens = None if self.tokens is None else first_rows(self.tokens, counts)
        return TextRows(class_means(self.mean, counts), by_template, tokens)


def encoded_rows(
    clip: Path, names: Sequence[str], templates: Sequence[str], *, by_template: bool
) -> TextRows:
    """Return the vectors that a CLIP folder's text tower makes of names, which a cache keeps, and the tokens."""
    vectors = cached_class_vectors(clip, names, templates, form="templates" if by_template else "mean")
    tokens = text_tokens(load_tokenizer(clip), names, templates).int() if by_template else None
    return TextRows.of(vectors, tokens)


def random_rows(names: Sequence[str], templates: Sequence[str], width: int, *, by_template: bool) -> TextRows:
    """Return a random vector per name, and one per text where those are kept; the mean is not theirs."""
    return TextRows(
        random_vectors(names, width),
        random_template_vectors(names, templates, width) if by_template else None,
    )


def rows_of_file(
    file: Path, names: Sequence[str], templates: Sequence[str], *, by_template: bool
) -> TextRows:
    """Read vectors of either form from a .npy file.

    Raises:
        UserError: `read_vectors` refuses the file, the number of templates differs, or those of single templates are
            wanted and missing.
    """
    rows = read_vectors(file, names)
    if by_template and rows.ndim == 2:
        raise UserError(
            f"text vectors {file}: shape {tuple(rows.shape)}, expected [{len(names)}, {len(templates)}, width]: the recipe "
            "reads a vector for each prompt template"
        )
    if rows.ndim == 3 and rows.shape[1] != len(templates):
        raise UserError(
            f"text vectors {file}: vectors of {rows.shape[1]} templates, but {len(templates)} templates are named; name "
            "those that the vectors were made with: --template, or --set data.templates=[...]"
        )
    return TextRows.of(rows)
