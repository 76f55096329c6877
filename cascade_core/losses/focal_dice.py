"""Focal and dice losses over independent classes (ZegCLIP section 3.4, after MaskFormer and SegViT)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from cascade_core.config import LossConfig
from cascade_core.labelsets import IGNORE
from cascade_core.losses.upsampled import upsampled_sums
from cascade_core.train.distributed import mean_over_processes


@dataclass(frozen=True)
class LossParts:
    """The weighted terms of a training loss; `total` is what is minimised."""

    terms: dict[str, Float[Tensor, ""]]

    @property
    def total(self) -> Float[Tensor, ""]:
        return torch.stack(list(self.terms.values())).sum()


SMALL = 1 << 22
"""Upsampled logits (16 MB of them) that are simply put into memory; more are gone through in blocks."""


def segmentation_loss(
    grid_logits: Float[Tensor, "batch classes grid_height grid_width"],
    labels: Int[Tensor, "batch height width"],
    config: LossConfig,
    *,
    mask_size: tuple[int, int],
    small: int = SMALL,
) -> LossParts:
    """Return the loss that the configuration names, over logits upsampled as by `upsampled`."""
    size = (labels.shape[-2], labels.shape[-1])
    if config.kind == "cross_entropy":
        return LossParts({"cross_entropy": _cross_entropy(upsampled(grid_logits, mask_size, size), labels)})
    if mask_size != size or grid_logits.shape[:2].numel() * labels[0].numel() <= small:
        return focal_dice_loss(upsampled(grid_logits, mask_size, size), labels, config)
    return blocked_focal_dice_loss(grid_logits, labels, config)


def upsampled(
    grid_logits: Float[Tensor, "batch classes grid_height grid_width"],
    mask_size: tuple[int, int],
    size: tuple[int, int],
) -> Float[Tensor, "batch classes {size[0]} {size[1]}"]:
    """Return logits resized bilinearly to the size of masks, and from there to `size` where that differs."""
    for wanted in (mask_size, size):
        if grid_logits.shape[-2:] != wanted:
            grid_logits = F.interpolate(grid_logits, size=wanted, mode="bilinear", align_corners=False)
    return grid_logits


def _cross_entropy(
    mask_logits: Float[Tensor, "batch classes height width"], labels: Int[Tensor, "batch height width"]
) -> Float[Tensor, ""]:
    """Softmax cross-entropy over the classes fed, averaged over labelled pixels; 0 if there is none.

    The number of pixels is averaged over processes, so that each pixel weighs the same in all of them.
    """
    summed = F.cross_entropy(mask_logits, labels, ignore_index=IGNORE, reduction="sum")
    labelled = (labels != IGNORE).sum().to(summed.dtype)
    return summed / mean_over_processes(labelled).clamp(min=1)


def focal_dice_loss(
    mask_logits: Float[Tensor, "batch classes height width"],
    labels: Int[Tensor, "batch height width"],
    config: LossConfig,
) -> LossParts:
    """Return the weighted focal and dice terms.

    With n the number of (picture, class present in it) pairs, averaged over processes and at least 1:

        focal = weight * sum over all (picture, class) of the mean over pixels of the focal loss / n
        dice = weight * sum over present pairs of 1 - (2 sum(p y) + 1) / (sum(p) + sum(y) + 1) / n

    Published quirk: pixels labelled 255 (unannotated, unseen or padding) are not masked out. Their target is
    0 for every class, so they are negatives in both terms; `ignored_as_negative=False` leaves them out of both.
    A batch without any label has n = 1, a focal term and no dice.
    """
    logits = mask_logits.flatten(2)
    valid = (labels != IGNORE).flatten(1)
    own = labels.flatten(1).long().masked_fill(~valid, 0)[:, None]
    probabilities = logits.sigmoid()
    own_probability = probabilities.gather(1, own)[:, 0] * valid

    pixels = torch.zeros_like(logits[..., 0]).scatter_add_(1, own[:, 0], valid.to(logits.dtype))
    overlap = torch.zeros_like(pixels).scatter_add(1, own[:, 0], own_probability)
    present = pixels > 0
    n = mean_over_processes(present.sum().to(logits.dtype)).clamp(min=1)

    # Every class is a negative at every pixel; then each labelled pixel's own class is put right.
    negative = _focal_of_negatives(logits, probabilities, config)
    own_logit = logits.gather(1, own)[:, 0]
    correction = _focal_of_positives(own_logit, config) - negative.gather(1, own)[:, 0]
    if config.ignored_as_negative:
        counted = torch.ones_like(own_logit)
    else:
        counted = valid.to(logits.dtype)
        probabilities = probabilities * counted[:, None]
        negative = negative * counted[:, None]
    per_pixel = negative.sum(dim=1) + correction * valid
    focal = (per_pixel.sum(dim=1) / counted.sum(dim=1).clamp(min=1)).sum()

    dice_per_pair = 1 - (2 * overlap + 1) / (probabilities.sum(dim=2) + pixels + 1)
    return LossParts(
        {
            "focal": config.focal_weight * focal / n,
            "dice": config.dice_weight * (dice_per_pair * present).sum() / n,
        }
    )


def blocked_focal_dice_loss(
    grid_logits: Float[Tensor, "batch classes grid_height grid_width"],
    labels: Int[Tensor, "batch height width"],
    config: LossConfig,
) -> LossParts:
    """Return `focal_dice_loss` of the logits upsampled to the labels' size, without those standing in memory."""
    sums = upsampled_sums(
        grid_logits,
        labels,
        alpha=config.focal_alpha,
        gamma=config.focal_gamma,
        ignored_as_negative=config.ignored_as_negative,
    )
    present = sums.pixels > 0
    n = mean_over_processes(present.sum().to(sums.focal.dtype)).clamp(min=1)
    if config.ignored_as_negative:
        counted = torch.full_like(sums.focal, labels[0].numel())
    else:
        counted = (labels != IGNORE).sum(dim=(1, 2)).clamp(min=1)
    dice_per_pair = 1 - (2 * sums.overlap + 1) / (sums.probability + sums.pixels + 1)
    return LossParts(
        {
            "focal": config.focal_weight * (sums.focal / counted).sum() / n,
            "dice": config.dice_weight * (dice_per_pair * present).sum() / n,
        }
    )


def _focal_of_negatives(
    logits: Float[Tensor, "*axes"], probabilities: Float[Tensor, "*axes"], config: LossConfig
) -> Float[Tensor, "*axes"]:
    """Return the focal loss of targets 0 (Lin et al. 2017, equation 5): (1 - alpha) p^gamma * -log(1 - p)."""
    return (1 - config.focal_alpha) * probabilities**config.focal_gamma * F.softplus(logits)


def _focal_of_positives(logits: Float[Tensor, "*axes"], config: LossConfig) -> Float[Tensor, "*axes"]:
    """Return the focal loss of targets 1: alpha (1 - p)^gamma * -log(p)."""
    return config.focal_alpha * (-logits).sigmoid() ** config.focal_gamma * F.softplus(-logits)


@torch.no_grad()
def pixel_accuracy(
    mask_logits: Float[Tensor, "batch classes height width"], labels: Int[Tensor, "batch height width"]
) -> Float[Tensor, ""]:
    """Return the share of labelled pixels whose highest logit is right; 1 if no pixel is labelled."""
    valid = labels != IGNORE
    correct = (mask_logits.argmax(dim=1) == labels) & valid
    return torch.where(valid.any(), correct.sum() / valid.sum().clamp(min=1), torch.ones(()).to(mask_logits))
