"""The classes that a segmentor is asked for, and what its decoder makes of them whatever the picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from cascade_core.inference.class_scores import Kind
from cascade_core.inference.resampling import bilinear
from cascade_core.inference.tiles import resample
from cascade_core.model.queries import PreparedClasses
from cascade_core.model.segmentor import Segmentor


@dataclass(frozen=True)
class Vocabulary:
    """A segmentor and the classes it is asked for: the text vectors, and who of them pays the seen penalty.

    The last `background_names` of the vectors are of names that stand for background, and no classes.
    """

    segmentor: Segmentor
    class_vectors: Float[Tensor, "classes embed"]
    kind: Kind
    seen: Sequence[int] = ()
    seen_penalty: float = 0.0
    background_names: int = 0

    def __post_init__(self) -> None:
        self.segmentor.check(self.class_vectors)

    def __len__(self) -> int:
        return len(self.class_vectors)

    @property
    def device(self) -> torch.device:
        return self.class_vectors.device

    @property
    def dtype(self) -> torch.dtype:
        """Of scores, which are never kept in half precision."""
        return torch.promote_types(self.class_vectors.dtype, torch.float32)

    @property
    def penalty(self) -> float:
        """What the seen classes pay: nothing where all classes are seen.

        The penalty is there to tell seen classes from unseen ones. Taken off every class, it would change which
        pixels are background, whose threshold and names do not pay it, and nothing else.
        """
        return 0.0 if len(set(self.seen)) == len(self) - self.background_names else self.seen_penalty

    @cached_property
    def penalties(self) -> Float[Tensor, " classes"]:
        """What is taken off each class's probability before they are compared.

        Taking 0.1 off the seen classes (in every public code of this family, for inductive models only) is not in
        the papers' text; scores may therefore be negative.
        """
        taken = torch.zeros(len(self), device=self.device)
        taken[list(self.seen)] = self.penalty
        return taken

    @cached_property
    def prepared(self) -> PreparedClasses:
        """What the decoder makes of the class vectors, whatever the picture."""
        with torch.no_grad():
            return self.segmentor.prepare(self.class_vectors)


def log_normaliser(
    logits: Float[Tensor, "classes grid_height grid_width"],
    mask_size: tuple[int, int],
    *,
    numbers: int,
) -> Float[Tensor, "mask_height mask_width"]:
    """Give the logarithm of the softmax's denominator at the size of the mask, over the classes given.

    No map of logits holds more than `numbers` of them.
    """
    (height, width), (grid_height, grid_width) = mask_size, logits.shape[1:]
    across = _sent(bilinear(0, width, target=width, source=grid_width)[1], logits)
    total = logits.new_empty(mask_size)
    for rows in chunks(0, height, numbers // (len(logits) * width)):
        cells, down = bilinear(rows.start, rows.stop, target=height, source=grid_height)
        masks = resample(logits[:, cells].transpose(0, 1), _sent(down, logits), across)
        total[rows] = masks.logsumexp(dim=1)
    return total


def _sent(matrix: Float[Tensor, "places cells"], logits: Tensor) -> Float[Tensor, "places cells"]:
    """Give a matrix in the logits' type on their device, which is not waited for."""
    return matrix.to(logits.device, logits.dtype, non_blocking=True)


def chunks(first: int, last: int, at_once: int) -> Iterator[slice]:
    """Cut first..last-1 into parts of at most `at_once`, and of at least one."""
    step = max(1, at_once)
    for start in range(first, last, step):
        yield slice(start, min(start + step, last))
