"""Our loss, compared with the published one at full size: `python -m benchmarks.loss`.

Forward and backward, batch 4, 156 classes, 512 x 512 pixels, float32 on a CPU.
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

BATCH, CLASSES, GRID, SIDE = 4, 156, 32, 512


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


def region_labels(batch: int, side: int, *, generator: torch.Generator) -> Int64[Tensor, "batch side side"]:
    """Make random label maps: square regions with ids 0..11, and a thirteenth of them ignored."""
    regions = torch.randint(0, 13, (batch, 8, 8), generator=generator).float()
    labels = torch.nn.functional.interpolate(regions[:, None], size=(side, side))[:, 0].long()
    return labels.masked_fill(labels == 12, IGNORE)


if __name__ == "__main__":
    print(surroundings())
    print(compare("loss, forward and backward", make).line())
