"""How a class name becomes a decoder query."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ClassQuery(nn.Module):
    """One linear map from class vectors, alone or related to the picture, to queries.

    'relationship_descriptor' (ZegCLIP section 3.3) joins the element-wise product of the picture's global
    embedding and the class vector with the class vector itself, product first, before the map; the text is
    not projected and the global embedding is not detached, so prompts learn through it. 'text' maps the
    class vector alone, the same for every picture.
    """

    def __init__(self, embed_dim: int, kind: Literal["relationship_descriptor", "text"]) -> None:
        super().__init__()
        self.kind = kind
        self.proj = nn.Linear(2 * embed_dim if kind == "relationship_descriptor" else embed_dim, embed_dim)

    def forward(
        self, global_embedding: Float[Tensor, "batch embed"], class_vectors: Float[Tensor, "classes embed"]
    ) -> Float[Tensor, "batch classes embed"]:
        batch = global_embedding.shape[0]
        if self.kind == "text":
            return self.proj(class_vectors).expand(batch, -1, -1)
        related = global_embedding[:, None] * class_vectors
        return self.proj(torch.cat([related, class_vectors.expand_as(related)], dim=-1))
