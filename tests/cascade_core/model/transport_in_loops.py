"""OTSeg's score path and decoder path, written from its definition with loops over pictures, classes, texts and patches."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cascade_core.model.optimal_transport import TransportDecoder, TransportLayer
from cascade_core.model.trunk import TrunkFeatures

EPSILON, ITERATIONS = 0.05, 50


def plan_of(scores: Tensor, iterations: int = ITERATIONS, *, added: float = 0.0) -> Tensor:
    """Return the plan of one picture and class, [patches, texts], by the published iterations over logarithms.

    The released code has `added`, 1e-8, beside the shares in the logarithms.
    """
    patches, texts = scores.shape
    u, v = torch.zeros(patches, dtype=scores.dtype), torch.zeros(texts, dtype=scores.dtype)
    for _ in range(iterations):
        for m in range(patches):
            moves = [(scores[m, n] - 1 + u[m] + v[n]) / EPSILON for n in range(texts)]
            u[m] += EPSILON * (math.log(1 / patches + added) - torch.stack(moves).logsumexp(0))
        for n in range(texts):
            moves = [(scores[m, n] - 1 + u[m] + v[n]) / EPSILON for m in range(patches)]
            v[n] += EPSILON * (math.log(1 / texts + added) - torch.stack(moves).logsumexp(0))
    return torch.exp((scores - 1 + u[:, None] + v[None, :]) / EPSILON)


def scores_of(queries: Tensor, patches: Tensor) -> Tensor:
    """Return the cosine of every patch with every query of a class, [patches, texts]."""
    rows = []
    for patch in patches:
        rows.append(torch.stack([patch @ query / (patch.norm() * query.norm()) for query in queries]))
    return torch.stack(rows)


def map_of(scores: Tensor, plan: Tensor) -> Tensor:
    """Return a class's value at every patch."""
    patches, texts = scores.shape
    total = torch.zeros(patches, dtype=scores.dtype)
    for m in range(patches):
        for n in range(texts):
            total[m] += patches * texts * plan[m, n] * scores[m, n]
    return total


def maps_of(decoder: TransportDecoder, features: TrunkFeatures, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return the decoder path's map and the score path's, [pictures, classes, patches]."""
    by_decoder, by_score = [], []
    for cls, patches in zip(features.global_embedding, features.patches, strict=True):
        for texts in vectors:
            related = [decoder.query.proj(torch.cat([cls * text, text])) for text in texts]
            queries = torch.stack(related)
            scores = scores_of(queries, patches)
            by_score.append(map_of(scores, plan_of(scores)))
            by_decoder.append(_decoder_path(decoder.layers, queries, patches))
    shape = (len(features.patches), len(vectors), -1)
    return torch.stack(by_decoder).view(shape), torch.stack(by_score).view(shape)


def _decoder_path(layers: nn.ModuleList, queries: Tensor, patches: Tensor) -> Tensor:
    maps = []
    for layer in layers:
        scores = scores_of(layer.q(queries), layer.k(patches))
        plan = plan_of(scores)
        maps.append(map_of(scores, plan))
        if isinstance(layer, TransportLayer):
            mixed = []
            for n in range(len(queries)):
                mixed.append(sum(plan[m, n] * layer.v(patches[m]) for m in range(len(patches))))
            queries = layer.norm2(queries + layer.proj(torch.stack(mixed)))
            queries = layer.norm3(queries + layer.linear2(F.relu(layer.linear1(queries))))
    product = maps[-1]
    for one in maps[:-1]:
        product = product * torch.sigmoid(one) ** (1 / (len(maps) - 1))
    return product
