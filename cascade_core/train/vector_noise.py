"""Noise on the class vectors of a training, so that a model relies less on the few texts that it sees."""

import torch
import torch.nn.functional as F

from cascade_core.model.queries import ClassVectors


def with_noise(class_vectors: ClassVectors, share: float) -> ClassVectors:
    """Return each vector moved in a random direction by a share of its length, and scaled to its length; with a share of 0 the vectors themselves."""
    if share == 0:
        return class_vectors
    lengths = class_vectors.norm(dim=-1, keepdim=True)
    directions = F.normalize(torch.randn_like(class_vectors), dim=-1)
    return F.normalize(class_vectors + share * lengths * directions, dim=-1) * lengths
