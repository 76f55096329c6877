"""Focal and dice losses over independent classes (ZegCLIP section 3.4, after MaskFormer and SegViT)."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from cascade_core.config import LossConfig
from cascade_core.labels import IGNORE


@dataclass(frozen=True)
class LossParts:
    """The weighted terms of a training loss; `total` is what is minimised."""

    terms: dict[str, Float[Tensor, ""]]

    @property
    def total(self) -> Float[Tensor, ""]:
        return torch.stack(list(self.terms.values())).sum()


def segmentation_loss(
    mask_logits: Float[Tensor, "batch classes height width"],
    labels: Int[Tensor, "batch label_height label_width"],
    config: LossConfig,
) -> LossParts:
    """Return the loss the configuration names; logits are resized bilinearly to the labels' size if they differ."""
    if mask_logits.shape[-2:] != labels.shape[-2:]:
        mask_logits = F.interpolate(mask_logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
    match config.kind:
        case "focal_dice":
            return focal_dice_loss(mask_logits, labels, config)
        case "cross_entropy":
            return LossParts({"cross_entropy": _cross_entropy(mask_logits, labels)})


def _cross_entropy(
    mask_logits: Float[Tensor, "batch classes height width"], labels: Int[Tensor, "batch height width"]
) -> Float[Tensor, ""]:
    """Softmax cross-entropy over the classes fed, averaged over labelled pixels; 0 if there is none."""
    summed = F.cross_entropy(mask_logits, labels, ignore_index=IGNORE, reduction="sum")
    return summed / (labels != IGNORE).sum().clamp(min=1)


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
    num_classes = mask_logits.shape[1]
    valid = labels != IGNORE
    one_hot = F.one_hot(labels.masked_fill(~valid, num_classes).long(), num_classes + 1)[..., :num_classes]
    targets = one_hot.movedim(-1, 1).to(mask_logits.dtype)
    present = targets.flatten(2).amax(dim=2) > 0
    n = _mean_over_processes(present.sum().to(mask_logits.dtype)).clamp(min=1)

    focal = sigmoid_focal_loss(mask_logits, targets, alpha=config.focal_alpha, gamma=config.focal_gamma)
    probabilities = mask_logits.sigmoid()
    if config.ignored_as_negative:
        focal_per_pair = focal.flatten(2).mean(dim=2)
    else:
        mask = valid[:, None].to(mask_logits.dtype)
        probabilities = probabilities * mask
        focal_per_pair = (focal * mask).flatten(2).sum(dim=2) / mask.flatten(2).sum(dim=2).clamp(min=1)
    overlap = (probabilities * targets).flatten(2).sum(dim=2)
    sizes = probabilities.flatten(2).sum(dim=2) + targets.flatten(2).sum(dim=2)
    dice_per_pair = 1 - (2 * overlap + 1) / (sizes + 1)
    return LossParts(
        {
            "focal": config.focal_weight * focal_per_pair.sum() / n,
            "dice": config.dice_weight * (dice_per_pair * present).sum() / n,
        }
    )


def _mean_over_processes(count: Float[Tensor, ""]) -> Float[Tensor, ""]:
    if dist.is_available() and dist.is_initialized():
        count = count.clone()
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return count


@torch.no_grad()
def pixel_accuracy(
    mask_logits: Float[Tensor, "batch classes height width"], labels: Int[Tensor, "batch height width"]
) -> Float[Tensor, ""]:
    """Return the share of labelled pixels whose highest logit is right; 1 if no pixel is labelled."""
    valid = labels != IGNORE
    correct = (mask_logits.argmax(dim=1) == labels) & valid
    return torch.where(valid.any(), correct.sum() / valid.sum().clamp(min=1), torch.ones(()).to(mask_logits))
