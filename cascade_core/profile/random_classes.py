"""Random class vectors of a configuration's shape, or random tokens, for measurements that need no real class."""

import torch
import torch.nn.functional as F

from cascade_core.configs.config import RunConfig
from cascade_core.model.queries import ClassVectors


def random_classes(config: RunConfig, num_classes: int) -> ClassVectors:
    """Return what stands for classes in the model: unit vectors, or rows of token ids with the end token last."""
    generator = torch.Generator().manual_seed(0)
    shape = config.vectors_shape(num_classes)
    if config.model.text != "tokens":
        return F.normalize(torch.randn(shape, generator=generator), dim=-1)
    end = config.model.clip.vocab_size - 1
    tokens = torch.randint(end, shape, generator=generator)
    tokens[..., -1] = end
    return tokens.float()
