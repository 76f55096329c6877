"""Cascade-CLIP's head: each group of middle levels has its own decoder (Cascade-CLIP section 3).

Without groups this head is ZegCLIP's decoder. With all levels summed into one memory it is the naive fusion
that both papers advise against.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cascade_core.model.decoder import Decoder, MaskDecoder, Masks, recomputed
from cascade_core.model.queries import ClassQuery, PreparedClasses
from cascade_core.model.trunk import TrunkFeatures

Vectors = Float[Tensor, "classes embed"]
Memory = Float[Tensor, "batch patches embed"]


class MidProjections(nn.Module):
    """One norm and one linear projection per tapped block, into CLIP's common space.

    Published: plain norms and random projections (std width^-0.5). Both stay frozen, so checkpoints must store them.
    """

    def __init__(self, num_levels: int, width: int, embed_dim: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(num_levels))
        self.projections = nn.Parameter(torch.randn(num_levels, width, embed_dim) * width**-0.5)

    def forward(self, tokens: Sequence[Float[Tensor, "batch patches width"]], first: int = 0) -> list[Memory]:
        """Return the unit-length maps of successive levels, starting at level `first`."""
        return [
            F.normalize(self.norms[level](level_tokens) @ self.projections[level], dim=-1)
            for level, level_tokens in enumerate(tokens, first)
        ]


class MaskStage(nn.Module):
    """A query map and a decoder: they turn one memory into masks."""

    def __init__(self, query: ClassQuery, decoder: MaskDecoder) -> None:
        super().__init__()
        self.query = query
        self.decoder = decoder

    def forward(
        self,
        global_embedding: Float[Tensor, "batch embed"],
        class_vectors: Vectors,
        text_terms: Vectors,
        memory: Memory,
    ) -> Masks:
        return self.decoder(self.query(global_embedding, class_vectors, text_terms), memory)


def gaussian_weights(count: int) -> Float[Tensor, " count"]:
    """Return exp(-x^2 / 2) for x = count-1 .. 0: the level nearest to the last weighs 1 (Cascade-CLIP eq. 5)."""
    # On the CPU, also where modules are made on `meta`: there a power would import torch's compiler, for seconds.
    distance = torch.arange(count - 1, -1, -1, dtype=torch.float32, device="cpu")
    return torch.exp(-(distance**2) / 2)


class MaskHead(Decoder):
    """Make memories from the trunk's levels, decode each with its own stage, and sum the masks."""

    def __init__(
        self,
        *,
        fusion: Literal["none", "cascade", "naive"],
        groups: tuple[tuple[int, ...], ...],
        mid: MidProjections | None,
        stages: list[MaskStage],
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.group_sizes = tuple(len(group) for group in groups)
        self.mid = mid
        # Trainable, neither normalised nor followed by a norm, as published.
        self.group_weights = nn.ParameterList(
            nn.Parameter(gaussian_weights(size)) for size in (self.group_sizes if fusion == "cascade" else ())
        )
        self.stages = nn.ModuleList(stages)

    def memories(self, features: TrunkFeatures) -> list[Memory]:
        """Return one memory per stage; the last stage sees the trunk's last map."""
        if self.mid is None:
            return [features.patches]
        if self.fusion == "naive":
            return [torch.stack([*self.mid(features.mid_tokens), features.patches]).sum(dim=0)]
        grouped, start = [], 0
        for weights in self.group_weights:
            tokens = features.mid_tokens[start : start + len(weights)]
            grouped.append(recomputed(partial(self._weighted, start), weights, *tokens))
            start += len(weights)
        return [*grouped, features.patches]

    def _weighted(
        self, start: int, weights: Float[Tensor, " levels"], *tokens: Float[Tensor, "batch patches width"]
    ) -> Memory:
        """Return the weighted sum of the maps of successive levels, starting at level `start`."""
        assert self.mid is not None
        levels = torch.stack(self.mid(tokens, start))
        return torch.einsum("l,lbpe->bpe", weights, levels)

    def prepare(self, class_vectors: Vectors) -> PreparedClasses:
        """Return the vectors and, for each stage, the text half of its queries."""
        terms = []
        for stage in self.stages:
            assert isinstance(stage, MaskStage)
            terms.append(stage.query.text_terms(class_vectors))
        return PreparedClasses(class_vectors, tuple(terms))

    def forward(self, features: TrunkFeatures, classes: Vectors | PreparedClasses) -> Masks:
        prepared = self.prepare(classes) if isinstance(classes, Tensor) else classes
        maps = [
            stage(features.global_embedding, prepared.vectors, terms, memory)
            for stage, terms, memory in zip(self.stages, prepared.terms, self.memories(features), strict=True)
        ]
        return torch.stack(maps).sum(dim=0)
