"""Random text vectors: controls without a text tower, and trials before CLIP's weights are at hand."""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def random_vectors(names: Sequence[str], width: int) -> Float[Tensor, "classes embed"]:
    """Return a random unit vector (float32) for each name; a name has the same vector in every call and list."""
    rows = torch.stack([_normal(name, width) for name in names])
    return rows / rows.norm(dim=1, keepdim=True)


def random_template_vectors(
    names: Sequence[str], templates: Sequence[str], width: int
) -> Float[Tensor, "names templates embed"]:
    """Return a random unit vector for each name and template: that of the template's text."""
    texts = [template.replace("{}", name) for name in names for template in templates]
    return random_vectors(texts, width).unflatten(0, (len(names), len(templates)))


def _normal(name: str, width: int) -> Float[Tensor, " embed"]:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little", signed=True)
    return torch.randn(width, generator=torch.Generator().manual_seed(seed))
