"""OTSeg's decoder: each class has several texts, and optimal transport spreads the patches over them (Kim et al. 2024).

Two paths read the same queries. The score path transports their cosines to the patches. The decoder path is ZegCLIP's
decoder with transport plans in place of softmax attention. Training adds the losses of both maps. Inference averages the
maps (OTSeg+), or reads one.
"""

from copy import deepcopy
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cascade_core.configs.settings import InferenceMap
from cascade_core.model.decoder import Decoder, Masks, Memory, recomputed
from cascade_core.model.queries import ClassQuery, PreparedClasses
from cascade_core.model.sinkhorn import sinkhorn
from cascade_core.model.trunk import TrunkFeatures
from cascade_core.runtime.autocast import in_float32

TextQueries = Float[Tensor, "batch classes templates width"]
Scores = Float[Tensor, "batch classes templates patches"]


def cosines(queries: TextQueries, patches: Memory) -> Scores:
    """Return the cosines of queries and patches in at least single precision: a plan magnifies them twentyfold."""
    with in_float32(queries.device):
        first, second = (
            F.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=-1)
            for vectors in (queries, patches)
        )
        products = first.flatten(1, 2) @ second.mT
    return products.unflatten(1, queries.shape[1:3])


def transported(scores: Scores, plan: Scores) -> Masks:
    """Return each class's scores, weighted by the plan and summed: about the number of texts times a cosine.

    With one text the plan is the same for every patch, and this is the cosine.
    """
    templates, patches = scores.shape[-2:]
    return templates * patches * (plan * scores).sum(dim=-2)


class TransportScores(nn.Module):
    """Scores texts against patches, each mapped with a bias: by the cosine over the full width, not in heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)

    def scores(self, queries: TextQueries, memory: Memory) -> Scores:
        """Return the cosines of the mapped queries and patches."""
        return cosines(self.q(queries), self.k(memory))


class TransportLayer(TransportScores):
    """Queries gather patches by their transport plans; then feed-forward, post-norm."""

    def __init__(self, width: int, feedforward: int, dropout: float) -> None:
        super().__init__(width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: TextQueries, memory: Memory, plan: Scores) -> TextQueries:
        """Return the updated queries. Published: the weights of a text are its share of the plan, and sum to 1 / texts."""
        values = self.v(memory)
        weights = self.dropout(plan).flatten(1, 2).to(values.dtype)
        mixed = self.proj((weights @ values).unflatten(1, plan.shape[1:3]))
        queries = self.norm2(queries + self.dropout(mixed))
        hidden = self.linear2(self.dropout(F.relu(self.linear1(queries))))
        return self.norm3(queries + self.dropout(hidden))


class TransportDecoder(Decoder):
    """Score path and decoder path over the texts of every class; classes do not depend on each other.

    The last layer has only what gives its map: the released code never trains the rest of it.
    """

    def __init__(
        self,
        *,
        width: int,
        query: Literal["relationship_descriptor", "text"],
        layers: int,
        feedforward: int,
        dropout: float,
        inference_map: InferenceMap,
    ) -> None:
        super().__init__()
        self.inference_map = inference_map
        self.query = ClassQuery(width, query)
        first, last = TransportLayer(width, feedforward, dropout), TransportScores(width)
        # As in ZegCLIP, the layers start as copies of one.
        last.q.load_state_dict(first.q.state_dict())
        last.k.load_state_dict(first.k.state_dict())
        self.layers = nn.ModuleList([first, *(deepcopy(first) for _ in range(layers - 2)), last][-layers:])

    def prepare(self, class_vectors: Float[Tensor, "classes templates embed"]) -> PreparedClasses:
        """Return the vectors and the text half of their queries."""
        return PreparedClasses(class_vectors, (self.query.text_terms(class_vectors),))

    def forward(
        self, features: TrunkFeatures, classes: Float[Tensor, "classes templates embed"] | PreparedClasses
    ) -> Masks:
        return self.merged(self.training_maps(features, classes))

    def training_maps(
        self, features: TrunkFeatures, classes: Float[Tensor, "classes templates embed"] | PreparedClasses
    ) -> tuple[Masks, ...]:
        """Return the map of the decoder path and that of the score path."""
        queries, memory = self._queries(features, classes), features.patches
        scores = cosines(queries, memory)
        by_score = transported(scores, recomputed(sinkhorn, scores))
        maps = []
        for layer in self.layers:
            assert isinstance(layer, TransportScores)
            scores = layer.scores(queries, memory)
            plan = recomputed(sinkhorn, scores)
            maps.append(transported(scores, plan))
            if isinstance(layer, TransportLayer):
                queries = layer(queries, memory, plan)
        return gated(maps), by_score

    def merged(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Return the mean of both maps, or the one that inference reads."""
        by_decoder, by_score = maps
        match self.inference_map:
            case "both":
                return (by_decoder + by_score) / 2
            case "decoder":
                return by_decoder
            case "scores":
                return by_score

    def _queries(
        self, features: TrunkFeatures, classes: Float[Tensor, "classes templates embed"] | PreparedClasses
    ) -> TextQueries:
        prepared = self.prepare(classes) if isinstance(classes, Tensor) else classes
        vectors, terms = (texts.flatten(0, 1) for texts in (prepared.vectors, prepared.terms[0]))
        queries = self.query(features.global_embedding, vectors, terms)
        return queries.unflatten(1, prepared.vectors.shape[:2])


def gated(maps: list[Masks]) -> Masks:
    """Return the last layer's map times the geometric mean of the earlier layers' probabilities."""
    *earlier, last = maps
    for one in earlier:
        last = last * one.sigmoid() ** (1 / len(earlier))
    return last
