"""Our losses, compared with the published ones at full size: `python -m benchmarks.loss`.

Forward and backward, 512 x 512 pixels, float32 on a CPU: focal and dice with batch 4 and 156 classes, and SPT-SEG's
structural loss with one picture and 20 classes.
"""

from collections.abc import Callable

import torch
from jaxtyping import Int64
from torch import Tensor

from benchmarks import plain
from benchmarks.compare import compare
from benchmarks.machine import surroundings
from cascade_core.configs.config import LossConfig
from cascade_core.labels.label_set import IGNORE
from cascade_core.losses.focal_dice import segmentation_loss
from cascade_core.losses.ssim import ssim_loss

BATCH, CLASSES, GRID, SIDE = 4, 156, 32, 512
STRUCTURAL_CLASSES = 20


def make(device: str = "cpu") -> tuple[Callable[[], object], Callable[[], object]]:
    """Make random logits, and label maps with 12 classes in regions and a part ignored."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(BATCH, CLASSES, GRID, GRID, generator=generator) - 3
    logits = logits.to(device).requires_grad_()
    labels = region_labels(BATCH, SIDE, generator=generator).to(device)
    config = LossConfig()

    def ours() -> object:
        loss = segmentation_loss(logits, labels, config, mask_size=(SIDE, SIDE))
        return torch.autograd.grad(loss.total, logits)

    def published() -> object:
        terms = plain.loss(logits, labels, config)
        return torch.autograd.grad(terms["focal"] + terms["dice"], logits)

    return ours, published


def make_structural() -> tuple[Callable[[], object], Callable[[], object]]:
    """Make a picture's random logits and label map for the structural loss."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, STRUCTURAL_CLASSES, GRID, GRID, generator=generator).requires_grad_()
    labels = region_labels(1, SIDE, generator=generator)

    def ours() -> object:
        loss = ssim_loss(logits, labels, mask_size=(SIDE, SIDE), ignored_as_negative=[True])
        return torch.autograd.grad(loss, logits)

    def published() -> object:
        return torch.autograd.grad(plain.structural_loss(logits, labels), logits)

    return ours, published


def region_labels(batch: int, side: int, *, generator: torch.Generator) -> Int64[Tensor, "batch side side"]:
    """Make random label maps: square regions with ids 0..11, and a thirteenth of them ignored."""
    regions = torch.randint(0, 13, (batch, 8, 8), generator=generator).float()
    labels = torch.nn.functional.interpolate(regions[:, None], size=(side, side))[:, 0].long()
    return labels.masked_fill(labels == 12, IGNORE)


if __name__ == "__main__":
    print(surroundings())
    print(compare("focal and dice loss, forward and backward", make).line())
    print(compare("structural loss, forward and backward", make_structural).line())
