"""SPT-SEG's structural loss: 1 - SSIM of logits against one-hot label maps (Wang et al. 2004; Xu et al. 2024)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cascade_core.labels.label_set import IGNORE
from cascade_core.losses.resize import resize_logits

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
BLOCK_ELEMENTS = 1 << 24
"""The number of pixels of logits in a block of classes; the backward pass computes each block again."""


def ssim_loss(
    grid_logits: Float[Tensor, "batch classes grid_height grid_width"],
    labels: Int[Tensor, "batch height width"],
    *,
    mask_size: tuple[int, int],
    ignored_as_negative: Sequence[bool],
) -> Float[Tensor, ""]:
    """Return 1 - SSIM, averaged over pictures, classes and pixels; a pixel labelled `IGNORE` is 0 for every class.

    Published: the logits themselves are compared with zeros and ones, without a sigmoid; windows at the border see zeros; and
    ignored pixels count. Of pictures for which `ignored_as_negative` is false, the windows around ignored pixels are left out.
    """
    size = (labels.shape[-2], labels.shape[-1])
    classes = torch.arange(grid_logits.shape[1], device=labels.device)
    at_once = max(1, BLOCK_ELEMENTS // labels.numel())
    negative = torch.tensor(ignored_as_negative, device=labels.device)
    counted = (labels != IGNORE) | negative[:, None, None]
    total = grid_logits.new_zeros((), dtype=torch.float32)
    with torch.autocast(grid_logits.device.type, enabled=False):
        for part in classes.split(at_once):
            total = total + checkpoint(
                _summed,
                grid_logits[:, part].float(),
                labels,
                counted,
                part,
                mask_size,
                size,
                use_reentrant=False,
            )
    return 1 - total / (counted.sum().clamp(min=1) * len(classes))


def _summed(
    grid_logits: Tensor,
    labels: Tensor,
    counted: Tensor,
    classes: Tensor,
    mask_size: tuple[int, int],
    size: tuple[int, int],
) -> Tensor:
    """Return the sum of the SSIM map of some classes over the counted pixels."""
    logits = resize_logits(grid_logits, mask_size, size)
    own = (labels[:, None] == classes[:, None, None]) & (labels != IGNORE)[:, None]
    return (ssim_map(logits, own.float()) * counted[:, None]).sum()


def ssim_map(
    first: Float[Tensor, "batch channels height width"], second: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, "batch channels height width"]:
    """Return the structural similarity around every pixel, in Gaussian windows (Wang et al. 2004, equation 13)."""
    means = _blurred(first), _blurred(second)
    variances = (_blurred(one * one) - mean * mean for one, mean in zip((first, second), means, strict=True))
    together = _blurred(first * second) - means[0] * means[1]
    luminance = (2 * means[0] * means[1] + C1) / (means[0] ** 2 + means[1] ** 2 + C1)
    return luminance * (2 * together + C2) / (sum(variances) + C2)


def _blurred(maps: Float[Tensor, "batch channels height width"]) -> Tensor:
    """Blur every channel by a Gaussian, an axis after the other, with zeros beyond the border."""
    offsets = torch.arange(WINDOW, dtype=maps.dtype, device=maps.device) - WINDOW // 2
    kernel = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    kernel = kernel / kernel.sum()
    planes = maps.flatten(0, 1)[:, None]
    planes = F.conv2d(planes, kernel[None, None, :, None], padding=(WINDOW // 2, 0))
    return F.conv2d(planes, kernel[None, None, None, :], padding=(0, WINDOW // 2)).view_as(maps)
