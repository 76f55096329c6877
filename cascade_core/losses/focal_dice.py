"""The training losses: focal and dice over independent classes (ZegCLIP section 3.4), or cross-entropy."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cascade_core.configs.config import LossConfig
from cascade_core.labels.label_set import IGNORE
from cascade_core.losses.blocks import FocalConstants, GridLogits, Labels
from cascade_core.losses.pixel_sums import pixel_sums
from cascade_core.losses.resize import resize_logits
from cascade_core.parallel import mean_over_processes


@dataclass(frozen=True)
class LossParts:
    """The weighted terms of a training loss; training minimises their `total`."""

    terms: dict[str, Float[Tensor, ""]]

    @property
    def total(self) -> Float[Tensor, ""]:
        return torch.stack(list(self.terms.values())).sum()


def segmentation_loss(
    grid_logits: GridLogits, labels: Labels, config: LossConfig, *, mask_size: tuple[int, int]
) -> LossParts:
    """Return the loss that the configuration names."""
    if config.kind == "cross_entropy":
        size = (labels.shape[-2], labels.shape[-1])
        return LossParts(
            {"cross_entropy": _cross_entropy(resize_logits(grid_logits, mask_size, size), labels)}
        )
    return _focal_dice(grid_logits, labels, config, mask_size=mask_size)


def _cross_entropy(
    mask_logits: Float[Tensor, "batch classes height width"], labels: Labels
) -> Float[Tensor, ""]:
    """Return the softmax cross-entropy, averaged over labelled pixels; 0 if there is none.

    The number of pixels is averaged over processes, so that every pixel has the same weight.
    """
    summed = F.cross_entropy(mask_logits, labels, ignore_index=IGNORE, reduction="sum")
    num_labelled = (labels != IGNORE).sum().to(summed.dtype)
    return summed / mean_over_processes(num_labelled).clamp(min=1)


def _focal_dice(
    grid_logits: GridLogits, labels: Labels, config: LossConfig, *, mask_size: tuple[int, int]
) -> LossParts:
    """Return the weighted focal and dice terms, after MaskFormer and SegViT.

    Let n be the number of (picture, class present in it) pairs, averaged over processes and at least 1. Then

        focal = weight / n * sum over all (picture, class) pairs of the mean over pixels of the focal loss
        dice = weight / n * sum over present pairs of [1 - (2 sum(p y) + 1) / (sum(p) + sum(y) + 1)]

    Published quirk: pixels labelled 255 (unannotated, unseen or padding) are not masked out. Their target is 0 for
    every class, so they are negatives in both terms; `ignored_as_negative=False` leaves them out of both. In a
    batch without labels n is 1 and the dice term is 0, but the focal term is not.
    """
    constants = FocalConstants(config.focal_alpha, config.focal_gamma, config.ignored_as_negative)
    sums = pixel_sums(grid_logits, labels, constants, mask_size=mask_size)
    present = sums.pixels > 0
    n = mean_over_processes(present.sum().to(sums.focal.dtype)).clamp(min=1)
    if config.ignored_as_negative:
        num_pixels = torch.full_like(sums.focal, labels[0].numel())
    else:
        num_pixels = (labels != IGNORE).sum(dim=(1, 2)).clamp(min=1)
    dice_per_pair = 1 - (2 * sums.overlap + 1) / (sums.probability + sums.pixels + 1)
    return LossParts(
        {
            "focal": config.focal_weight * (sums.focal / num_pixels).sum() / n,
            "dice": config.dice_weight * (dice_per_pair * present).sum() / n,
        }
    )
