"""The distance of a model's map from that of a teacher that trains nothing."""

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from cascade_core.losses.blocks import GridLogits
from cascade_core.parallel import mean_over_processes


def distillation_loss(
    grid_logits: GridLogits,
    teacher_logits: GridLogits,
    padding: Bool[Tensor, "batch height width"],
    *,
    patch_size: int,
) -> Float[Tensor, ""]:
    """Return the Kullback-Leibler divergence, in nats, of the softmax over classes from that of the teacher, averaged over patches.

    A patch of padding alone does not count; without any other patch the loss is 0. The number of patches is averaged
    over processes, so that every patch has the same weight.
    """
    own, taught = (logits.log_softmax(dim=1) for logits in (grid_logits, teacher_logits))
    divergences = F.kl_div(own, taught, reduction="none", log_target=True).sum(dim=1)
    shows_picture = F.max_pool2d((~padding).to(divergences.dtype), patch_size)
    return (divergences * shows_picture).sum() / mean_over_processes(shows_picture.sum()).clamp(min=1)
