"""How a class name becomes a decoder query."""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class PreparedClasses:
    """What a decoder computes of class vectors alone, whatever the picture: once per label set.

    `Segmentor.prepare` makes it, and whatever takes class vectors takes this in their place. It holds for the
    weights that it was made with. A slice of it is that of some of the classes.

    Attributes:
        vectors: the class vectors as the decoder reads them.
        terms: for each stage of the decoder, what text alone adds to the queries.
    """

    vectors: Float[Tensor, "classes embed"]
    terms: tuple[Float[Tensor, "classes embed"], ...]

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, classes: slice) -> "PreparedClasses":
        return PreparedClasses(self.vectors[classes], tuple(terms[classes] for terms in self.terms))


class ClassQuery(nn.Module):
    """One linear map from class vectors, alone or related to the picture, to queries.

    'relationship_descriptor' (ZegCLIP section 3.3) joins the element-wise product of the picture's global
    embedding and the class vector with the class vector itself, product first, before the map; the text is
    not projected and the global embedding is not detached, so prompts learn through it. 'text' maps the
    class vector alone, the same for every picture.

    A linear map of two joined parts is the sum of one map of each, and the text's is the same for every picture.
    """

    def __init__(self, embed_dim: int, kind: Literal["relationship_descriptor", "text"]) -> None:
        super().__init__()
        self.kind = kind
        self.embed_dim = embed_dim
        self.proj = nn.Linear(2 * embed_dim if kind == "relationship_descriptor" else embed_dim, embed_dim)

    def text_terms(self, class_vectors: Float[Tensor, "classes embed"]) -> Float[Tensor, "classes embed"]:
        """Return what class vectors alone add to the queries, the bias with it."""
        return F.linear(class_vectors, self.proj.weight[:, -self.embed_dim :], self.proj.bias)

    def forward(
        self,
        global_embedding: Float[Tensor, "batch embed"],
        class_vectors: Float[Tensor, "classes embed"],
        text_terms: Float[Tensor, "classes embed"],
    ) -> Float[Tensor, "batch classes embed"]:
        """Return the queries of every picture; `text_terms` are those of `class_vectors`."""
        if self.kind == "text":
            return text_terms.expand(global_embedding.shape[0], -1, -1)
        related = global_embedding[:, None] * class_vectors
        return F.linear(related, self.proj.weight[:, : self.embed_dim]) + text_terms
