"""A segmentor whose backward passes average gradients over the processes that train together."""

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cascade_core.model.segmentor import Segmentor
from cascade_core.parallel import together
from cascade_core.train.compiled import GridLogits
from cascade_core.train.optim import names_without_gradient


class _GridLogits(nn.Module):
    """What the wrapper that averages gradients takes: a module that is called."""

    def __init__(self, segmentor: Segmentor, grid_logits: GridLogits) -> None:
        super().__init__()
        self.segmentor = segmentor
        self.grid_logits = grid_logits

    def forward(self, images: Tensor, class_vectors: Tensor) -> Tensor:
        return self.grid_logits(images, class_vectors)


def replicated(segmentor: Segmentor, grid_logits: GridLogits) -> GridLogits:
    """Return `grid_logits`, which are `segmentor`'s, so that backward passes average gradients over processes.

    All processes go on from the first one's weights. Weights that never get a gradient are kept out of what
    is averaged (nothing has to search for them at every step); they stay the segmentor's, trainable by name,
    and are saved and counted. Alone nothing is averaged.
    """
    if not together():
        return grid_logits
    dead = names_without_gradient(segmentor)
    left_out = [parameter for name, parameter in segmentor.named_parameters() if name in dead]
    # The wrapper takes up what requires a gradient at the moment it is made.
    for parameter in left_out:
        parameter.requires_grad_(False)
    replica = DistributedDataParallel(
        _GridLogits(segmentor, grid_logits), forward_sync_buffers=False, gradient_as_bucket_view=True
    )
    for parameter in left_out:
        parameter.requires_grad_(True)
    return replica
