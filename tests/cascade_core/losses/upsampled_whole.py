"""Random cases of the loss, and the published loss of them on whole upsampled logits."""

import torch
from torch import Tensor

from benchmarks import plain
from cascade_core.configs.config import LossConfig
from cascade_core.labels.label_set import IGNORE
from cascade_core.losses.resize import resize_logits

CONFIGS = (
    LossConfig(),
    LossConfig(ignored_as_negative=False),
    LossConfig(focal_weight=3, dice_weight=0.5, focal_alpha=0.6, focal_gamma=1.5),
)


def case(grid: tuple[int, int], size: tuple[int, int], *, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw logits and labels, with ignored pixels, absent classes, and a last picture without labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(3, classes, *grid, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes + 1, (3, *size), generator=generator)
    labels[labels == classes] = IGNORE
    labels[0][labels[0] == 0] = IGNORE
    labels[2] = IGNORE
    return logits.requires_grad_(), labels


def upsampled_whole(
    grid_logits: Tensor, labels: Tensor, config: LossConfig, *, mask_size: tuple[int, int]
) -> dict[str, Tensor]:
    """Return the terms of `plain.loss`; if ignored pixels are left out, combine them over pictures."""
    logits = resize_logits(grid_logits, mask_size, (labels.shape[-2], labels.shape[-1]))
    if config.ignored_as_negative:
        return plain.loss(logits, labels, config)
    totals = {"focal": 0 * logits.sum(), "dice": 0 * logits.sum()}
    pairs = 0
    for mask_logits, own in zip(logits, labels, strict=True):
        annotated = own != IGNORE
        if not annotated.any():
            continue
        terms = plain.loss(mask_logits[:, annotated][None, :, None], own[annotated][None, None], config)
        here = len(own[annotated].unique())
        totals = {name: total + here * terms[name] for name, total in totals.items()}
        pairs += here
    return {name: total / max(pairs, 1) for name, total in totals.items()}
