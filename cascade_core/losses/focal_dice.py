"""The training losses of each class by itself: focal and dice (ZegCLIP section 3.4), focal and SSIM, binary cross-entropy;
and the softmax cross-entropy.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cascade_core.configs.config import LossConfig
from cascade_core.labels.label_set import IGNORE
from cascade_core.losses.blocks import FocalConstants, GridLogits, Labels
from cascade_core.losses.pixel_sums import pixel_sums
from cascade_core.losses.resize import resize_logits
from cascade_core.losses.ssim import ssim_loss
from cascade_core.parallel import mean_over_processes


@dataclass(frozen=True)
class LossParts:
    """The weighted terms of a training loss; training minimises their `total`."""

    terms: dict[str, Float[Tensor, ""]]

    @property
    def total(self) -> Float[Tensor, ""]:
        return torch.stack(list(self.terms.values())).sum()


def added(parts: Sequence[LossParts]) -> LossParts:
    """Return the sum of losses with the same terms, term by term."""
    return LossParts({name: torch.stack([one.terms[name] for one in parts]).sum() for name in parts[0].terms})


class _PictureTerms(NamedTuple):
    """Focal and dice, summed over pictures and classes, and the number of (picture, class present in it) pairs."""

    focal: Float[Tensor, ""]
    dice: Float[Tensor, ""]
    pairs: Float[Tensor, ""]


def segmentation_loss(
    grid_logits: GridLogits,
    labels: Labels,
    config: LossConfig,
    *,
    mask_size: tuple[int, int],
    unannotated: Sequence[bool] = (),
) -> LossParts:
    """Return the loss that the configuration names; `unannotated` says of each picture whether no annotator labelled it."""
    if config.kind == "cross_entropy":
        size = (labels.shape[-2], labels.shape[-1])
        return LossParts(
            {"cross_entropy": _cross_entropy(resize_logits(grid_logits, mask_size, size), labels)}
        )
    # Where a teacher is not sure, its pictures say nothing: the published role of ignored pixels is not for them.
    negative = [config.ignored_as_negative and not own for own in unannotated or [False] * len(labels)]
    if config.kind == "binary_cross_entropy":
        return LossParts({config.kind: _binary_cross_entropy(grid_logits, labels, negative, mask_size)})
    parts = _focal_dice(_groups(grid_logits, labels, config, negative, mask_size), config)
    if config.kind == "focal_dice":
        return parts
    structure = ssim_loss(grid_logits, labels, mask_size=mask_size, ignored_as_negative=negative)
    return LossParts({"focal": parts.terms["focal"], "ssim": config.ssim_weight * structure})


def _groups(
    grid_logits: GridLogits,
    labels: Labels,
    config: LossConfig,
    negative: Sequence[bool],
    mask_size: tuple[int, int],
) -> list[_PictureTerms]:
    """Return the terms of the pictures whose ignored pixels are negatives, and of the others."""
    return [
        _picture_terms(own_logits, own_labels, config, role, mask_size)
        for own_logits, own_labels, role in _by_role(grid_logits, labels, negative)
    ]


def _by_role(
    grid_logits: GridLogits, labels: Labels, negative: Sequence[bool]
) -> Iterator[tuple[GridLogits, Labels, bool]]:
    """Yield logits and labels of the pictures whose ignored pixels are negatives (True), and of the others."""
    if len(set(negative)) == 1:
        yield grid_logits, labels, negative[0]
        return
    for role in (True, False):
        places = [place for place, own in enumerate(negative) if own is role]
        # A list as index would be copied to the device, for which the training would wait.
        logits, own_labels = (
            torch.stack([part[place] for place in places]) for part in (grid_logits, labels)
        )
        yield logits, own_labels, role


def _binary_cross_entropy(
    grid_logits: GridLogits, labels: Labels, negative: Sequence[bool], mask_size: tuple[int, int]
) -> Float[Tensor, ""]:
    """Return the binary cross-entropy of every class, averaged over pictures, classes and pixels (CAT-Seg).

    Published quirk: ignored pixels count, and are negatives of every class; pictures for which `negative` is false leave them
    out, and the number of pixels is then averaged over processes.
    """
    total = grid_logits.new_zeros((), dtype=torch.float32)
    num_pixels = torch.zeros((), dtype=torch.float32, device=labels.device)
    for logits, own_labels, role in _by_role(grid_logits, labels, negative):
        # The focal loss without its focus, and with the same weight for both kinds of pixels.
        halved = pixel_sums(logits, own_labels, FocalConstants(0.5, 0.0, role), mask_size=mask_size)
        total = total + 2 * halved.focal.sum()
        num_pixels = num_pixels + (own_labels.numel() if role else (own_labels != IGNORE).sum())
    return total / (mean_over_processes(num_pixels).clamp(min=1) * grid_logits.shape[1])


def _cross_entropy(
    mask_logits: Float[Tensor, "batch classes height width"], labels: Labels
) -> Float[Tensor, ""]:
    """Return the softmax cross-entropy, averaged over labelled pixels; 0 if there is none.

    The number of pixels is averaged over processes, so that every pixel has the same weight.
    """
    summed = F.cross_entropy(mask_logits, labels, ignore_index=IGNORE, reduction="sum")
    num_labelled = (labels != IGNORE).sum().to(summed.dtype)
    return summed / mean_over_processes(num_labelled).clamp(min=1)


def _focal_dice(parts: Sequence[_PictureTerms], config: LossConfig) -> LossParts:
    """Return the weighted focal and dice terms of groups of pictures, after MaskFormer and SegViT.

    Let n be the number of (picture, class present in it) pairs, averaged over processes and at least 1. Then

        focal = weight / n * sum over all (picture, class) pairs of the mean over pixels of the focal loss
        dice = weight / n * sum over present pairs of [1 - (2 sum(p y) + 1) / (sum(p) + sum(y) + 1)]

    Published quirk: pixels labelled 255 (unannotated, unseen or padding) are not masked out. Their target is 0 for
    every class, so they are negatives in both terms; `ignored_as_negative=False` leaves them out of both. In a
    batch without labels n is 1 and the dice term is 0, but the focal term is not.
    """
    focal, dice, pairs = (torch.stack(terms).sum() for terms in zip(*parts, strict=True))
    n = mean_over_processes(pairs).clamp(min=1)
    return LossParts({"focal": config.focal_weight * focal / n, "dice": config.dice_weight * dice / n})


def _picture_terms(
    grid_logits: GridLogits,
    labels: Labels,
    config: LossConfig,
    ignored_as_negative: bool,
    mask_size: tuple[int, int],
) -> _PictureTerms:
    constants = FocalConstants(config.focal_alpha, config.focal_gamma, ignored_as_negative)
    sums = pixel_sums(grid_logits, labels, constants, mask_size=mask_size)
    present = sums.pixels > 0
    if ignored_as_negative:
        num_pixels = torch.full_like(sums.focal, labels[0].numel())
    else:
        num_pixels = (labels != IGNORE).sum(dim=(1, 2)).clamp(min=1)
    dice_per_pair = 1 - (2 * sums.overlap + 1) / (sums.probability + sums.pixels + 1)
    return _PictureTerms(
        focal=(sums.focal / num_pixels).sum(),
        dice=(dice_per_pair * present).sum(),
        pairs=present.sum().to(sums.focal.dtype),
    )
