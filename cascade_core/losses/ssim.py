"""SPT-SEG's structural loss: 1 - SSIM of logits against one-hot label maps (Wang et al. 2004; Xu et al. 2024)."""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cascade_core.labels.label_set import IGNORE
from cascade_core.losses.resize import resize_logits
from cascade_core.parallel import mean_over_processes
from cascade_core.runtime.autocast import in_float32

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
TILE = 64
BLOCK_ELEMENTS = 1 << 24
"""Pixels of a tile of a blur, and pixels of logits in a block of classes; of several blocks the backward pass computes each again."""


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
    counted = labels != IGNORE
    for own_counted, negative in zip(counted, ignored_as_negative, strict=True):
        # In place: a tensor of the roles would have to be copied to the device in every step.
        if negative:
            own_counted.fill_(True)
    own = counted.sum().float()
    # Several processes divide by the mean of their numbers, so that their mean is the loss of the whole batch.
    everywhere = mean_over_processes(own).clamp(min=1)
    places, share = everywhere * len(classes), own / everywhere
    total = grid_logits.new_zeros((), dtype=torch.float32)
    with in_float32(grid_logits.device):
        for part in classes.split(at_once):
            inputs = (grid_logits[:, part].float(), labels, counted, part, mask_size, size)
            if len(part) == len(classes):
                return share - _summed(*inputs) / places
            total = total + checkpoint(_summed, *inputs, use_reentrant=False)
    return share - total / places


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
    logits: Float[Tensor, "batch channels height width"], own: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, "batch channels height width"]:
    """Return the structural similarity around every pixel, in Gaussian windows (Wang et al. 2004, equation 13).

    `own` holds zeros and ones, so it is its own square. As in public code, variances are differences of means of squares: in
    single precision the map is wrong by up to 0.005 at logits of 10, and 0.02 at 30.
    """
    mean, square, product = _blurred(logits), _blurred(logits * logits), _blurred(logits * own)
    own_mean = _blurred(own)
    together = product - mean * own_mean
    variances = square - mean**2 + own_mean - own_mean**2
    luminance = (2 * mean * own_mean + C1) / (mean**2 + own_mean**2 + C1)
    return luminance * (2 * together + C2) / (variances + C2)


def _blurred(maps: Float[Tensor, "batch channels height width"]) -> Tensor:
    """Blur every channel by a Gaussian, an axis after the other, with zeros beyond the border."""
    return _blurred_rows(_blurred_rows(maps).mT).mT


def _blurred_rows(maps: Float[Tensor, "*maps length"]) -> Float[Tensor, "*maps length"]:
    """Blur the last axis by products of its tiles with a banded matrix: convolutions of one channel are slow on CPUs."""
    length, reach = maps.shape[-1], WINDOW // 2
    if length <= TILE:
        # The zeros beyond the border add nothing.
        return maps @ _band(length, maps.dtype, maps.device)[reach:-reach]
    tiles = F.pad(maps, (reach, reach + -length % TILE)).unfold(-1, TILE + 2 * reach, TILE)
    return (tiles @ _band(TILE, maps.dtype, maps.device)).flatten(-2)[..., :length]


@lru_cache(maxsize=16)
def _band(tile: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "places tile"]:
    """Return the matrix whose columns hold the Gaussian of a window, each one place below the one before."""
    places = torch.arange(tile + WINDOW - 1, dtype=dtype, device=device)
    offsets = places[:, None] - places[:tile] - WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * SIGMA**2)) * (offsets.abs() <= WINDOW // 2)
    return weights / weights[:, 0].sum()
