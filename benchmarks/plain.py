"""What the published code computes, written plainly: the baseline of the benchmarks and the oracle of the tests.

Never made slower on purpose: what torch offers is used, but nothing is fused, skipped or done in parts.
"""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from cascade_core.config import LossConfig
from cascade_core.labelsets import IGNORE


def loss(
    grid_logits: Float[Tensor, "batch classes grid_height grid_width"],
    labels: Int[Tensor, "batch height width"],
    config: LossConfig,
) -> dict[str, Float[Tensor, ""]]:
    """Return the focal and dice terms of ZegCLIP (section 3.4) at the labels' full size, 255 as negatives.

    Targets are one-hot maps, as in the released code.
    """
    size = (labels.shape[-2], labels.shape[-1])
    logits = F.interpolate(grid_logits, size=size, mode="bilinear", align_corners=False)
    classes = logits.shape[1]
    hot = F.one_hot(labels.long().masked_fill(labels == IGNORE, classes), classes + 1)
    targets = hot[..., :classes].movedim(-1, 1).to(logits.dtype)
    present = targets.sum(dim=(2, 3)) > 0
    n = present.sum().clamp(min=1)

    probabilities = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    of_target = probabilities * targets + (1 - probabilities) * (1 - targets)
    alpha = config.focal_alpha * targets + (1 - config.focal_alpha) * (1 - targets)
    focal = (alpha * (1 - of_target) ** config.focal_gamma * entropy).mean(dim=(2, 3)).sum() / n

    overlap = (probabilities * targets).sum(dim=(2, 3))
    areas = probabilities.sum(dim=(2, 3)) + targets.sum(dim=(2, 3))
    dice = ((1 - (2 * overlap + 1) / (areas + 1)) * present).sum() / n
    return {"focal": config.focal_weight * focal, "dice": config.dice_weight * dice}
