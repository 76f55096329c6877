"""What focal and dice losses are made of: sums over pixels, and the maps of their gradients on the patch grid."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

GridLogits = Float[Tensor, "batch classes grid_height grid_width"]
Labels = Int[Tensor, "batch height width"]


class FocalConstants(NamedTuple):
    """The focal loss's constants (Lin et al. 2017, equation 5), and what pixels of `IGNORE` are.

    They are negatives of every class, or left out of every sum.
    """

    alpha: float
    gamma: float
    ignored_as_negative: bool


class PixelSums(NamedTuple):
    """Sums over the pixels of each picture.

    `focal` is the focal loss summed over pixels and classes, `probability` the sum of p per class, `overlap` the
    sum of p over the pixels of the class, `pixels` their number.
    """

    focal: Float[Tensor, " batch"]
    probability: Float[Tensor, "batch classes"]
    overlap: Float[Tensor, "batch classes"]
    pixels: Float[Tensor, "batch classes"]


class GradientMaps(NamedTuple):
    """The gradients of `focal`, `probability` and `overlap` with respect to the logits on the grid."""

    focal: GridLogits
    probability: GridLogits
    overlap: GridLogits


Summed = tuple[PixelSums, GradientMaps | None]
"""Sums with their gradients; with None where none are asked for."""
