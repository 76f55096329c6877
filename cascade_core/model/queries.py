"""Decoder queries from class vectors."""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

ClassVectors = Float[Tensor, "classes *templates embed"]
"""Text vectors: one per class, or, for decoders that read them, one per class and prompt template."""


@dataclass(frozen=True)
class PreparedClasses:
    """The part of a decoder's work that depends on the class vectors only, computed once per label set.

    Every function that takes class vectors also takes this. It is valid until the weights change. A slice selects
    classes.

    Attributes:
        vectors: the class vectors that the decoder reads.
        terms: what the decoder computes from them, such as the text half of the queries of each stage.
    """

    vectors: ClassVectors
    terms: tuple[Float[Tensor, "classes *templates _width"], ...]

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, classes: slice) -> "PreparedClasses":
        return PreparedClasses(self.vectors[classes], tuple(terms[classes] for terms in self.terms))


class ClassQuery(nn.Module):
    """One linear map from class vectors to queries.

    'relationship_descriptor' (ZegCLIP section 3.3) maps the concatenation of two vectors: first the element-wise
    product of the picture's global embedding and the class vector, then the class vector. The text is not projected.
    The global embedding is not detached, so prompts learn through it. 'text' maps the class vector only.

    A linear map of a concatenation is the sum of a map of each half, and the text half is the same for every picture.
    """

    def __init__(self, embed_dim: int, kind: Literal["relationship_descriptor", "text"]) -> None:
        super().__init__()
        self.kind = kind
        self.embed_dim = embed_dim
        self.proj = nn.Linear(2 * embed_dim if kind == "relationship_descriptor" else embed_dim, embed_dim)

    def text_terms(self, class_vectors: ClassVectors) -> ClassVectors:
        """Return the text half of the queries, including the bias."""
        return F.linear(class_vectors, self.proj.weight[:, -self.embed_dim :], self.proj.bias)

    def forward(
        self,
        global_embedding: Float[Tensor, "batch embed"],
        class_vectors: Float[Tensor, "classes embed"],
        text_terms: Float[Tensor, "classes embed"],
    ) -> Float[Tensor, "batch classes embed"]:
        """Return the queries of every picture; `text_terms` must be the text half for `class_vectors`."""
        if self.kind == "text":
            return text_terms.expand(global_embedding.shape[0], -1, -1)
        related = global_embedding[:, None] * class_vectors
        return F.linear(related, self.proj.weight[:, : self.embed_dim]) + text_terms
