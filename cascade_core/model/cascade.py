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

from cascade_core.model.aggregation import Memory
from cascade_core.model.decoder import Decoder, Masks, StageDecoder, recomputed
from cascade_core.model.queries import ClassQuery, PreparedClasses
from cascade_core.model.text_cosines import TextCosines
from cascade_core.model.trunk import TrunkFeatures

Vectors = Float[Tensor, "classes embed"]


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
    """A query map and a decoder: they turn one memory into masks. A part that is None is the first stage's."""

    def __init__(self, query: ClassQuery | None, decoder: StageDecoder | None) -> None:
        super().__init__()
        self.query = query
        self.decoder = decoder


class MaskHead(Decoder):
    """Make memories from the trunk's levels, decode each with its own stage, and sum the masks.

    `group_sizes` are numbers of levels; each group has its weights in `group_weights`, or its module in `aggregators`.
    `cosines`, if there are any, are added to the masks.
    """

    def __init__(
        self,
        *,
        fusion: Literal["none", "cascade", "naive"],
        group_sizes: tuple[int, ...],
        mid: MidProjections | None,
        group_weights: list[nn.Parameter],
        aggregators: list[nn.Module],
        stages: list[MaskStage],
        cosines: TextCosines | None,
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.group_sizes = group_sizes
        self.mid = mid
        self.group_weights = nn.ParameterList(group_weights)
        self.aggregators = nn.ModuleList(aggregators)
        self.stages = nn.ModuleList(stages)
        self.cosines = cosines

    def compute_as_in_training(self) -> None:
        """Add the cosines that training adds, if any."""
        if self.cosines is not None:
            self.cosines = self.cosines.as_in_training().eval()

    def parts(self, stage: int) -> tuple[ClassQuery, StageDecoder]:
        """Return the query map and the decoder of a stage, which several stages may share."""
        own, first = self.stages[stage], self.stages[0]
        query = first.query if own.query is None else own.query
        decoder = first.decoder if own.decoder is None else own.decoder
        assert isinstance(query, ClassQuery) and isinstance(decoder, StageDecoder)
        return query, decoder

    def memories(self, features: TrunkFeatures) -> list[Memory]:
        """Return one memory per stage; the last stage sees the trunk's last map."""
        if self.mid is None:
            return [features.patches]
        if self.fusion == "naive":
            return [torch.stack([*self.mid(features.mid_tokens), features.patches]).sum(dim=0)]
        grouped, start = [], 0
        for group, size in enumerate(self.group_sizes):
            tokens = features.mid_tokens[start : start + size]
            grouped.append(recomputed(partial(self._memory, group, start), *tokens))
            start += size
        return [*grouped, features.patches]

    def _memory(self, group: int, start: int, *tokens: Float[Tensor, "batch patches width"]) -> Memory:
        """Return the memory of a group of successive levels, starting at level `start`."""
        assert self.mid is not None
        levels = self.mid(tokens, start)
        if len(self.aggregators):
            return self.aggregators[group](levels)
        return torch.einsum("l,lbpe->bpe", self.group_weights[group], torch.stack(levels))

    def prepare(self, class_vectors: Vectors) -> PreparedClasses:
        """Return the vectors and, for each stage, the text half of its queries."""
        terms: list[Vectors] = []
        for stage in self.stages:
            assert isinstance(stage, MaskStage)
            terms.append(terms[0] if stage.query is None else stage.query.text_terms(class_vectors))
        return PreparedClasses(class_vectors, tuple(terms))

    def forward(self, features: TrunkFeatures, classes: Vectors | PreparedClasses) -> Masks:
        prepared = self.prepare(classes) if isinstance(classes, Tensor) else classes
        maps = []
        for stage, (terms, memory) in enumerate(zip(prepared.terms, self.memories(features), strict=True)):
            query, decoder = self.parts(stage)
            queries = query(features.global_embedding, prepared.vectors, terms)
            maps.append(decoder(queries, memory, features.grid))
        if self.cosines is not None:
            maps.append(self.cosines(features, prepared.vectors))
        return torch.stack(maps).sum(dim=0)
