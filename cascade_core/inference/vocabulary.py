"""The candidate classes of a call, and everything about them that does not depend on a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from cascade_core.inference.resampling import bilinear, chunks, resample
from cascade_core.model.queries import PreparedClasses
from cascade_core.model.segmentor import Segmentor

Kind = Literal["focal_dice", "cross_entropy"]
"""The training loss, which decides how logits become probabilities."""


@dataclass(frozen=True)
class Vocabulary:
    """A segmentor with its candidate classes.

    Attributes:
        segmentor: the model; its trunk and decoder do not depend on the classes.
        class_vectors: text vectors of the classes, then of the names that stand for background.
        kind: the loss that the model was trained with.
        seen: ids of the seen classes, which pay the seen penalty.
        seen_penalty: the number subtracted from their probabilities.
        background_names: number of vectors at the end that stand for background.
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
        """The type of scores: at least single precision."""
        return torch.promote_types(self.class_vectors.dtype, torch.float32)

    @property
    def penalty(self) -> float:
        """The penalty that seen classes pay: 0 if every class is seen.

        The penalty is meant to favour unseen over seen classes. Subtracted from every class, it would only favour
        background, which does not pay it.
        """
        return 0.0 if len(set(self.seen)) == len(self) - self.background_names else self.seen_penalty

    @cached_property
    def penalties(self) -> Float[Tensor, " classes"]:
        """The number subtracted from each class's probability before classes compete; scores may become negative.

        All public code of these methods subtracts 0.1 for the seen classes of inductive models; the papers' text
        does not mention it.
        """
        penalties = torch.zeros(len(self), device=self.device)
        penalties[list(self.seen)] = self.penalty
        return penalties

    @cached_property
    def prepared(self) -> PreparedClasses:
        """The decoder's terms that depend on the class vectors alone."""
        with torch.no_grad():
            return self.segmentor.prepare(self.class_vectors)


def probabilities(
    mask_logits: Float[Tensor, "batch classes height width"], kind: Kind
) -> Float[Tensor, "batch classes height width"]:
    """Return each class's probability: the sigmoid of independent classes (focal + dice), else the softmax."""
    return mask_logits.sigmoid() if kind == "focal_dice" else mask_logits.softmax(dim=1)


def log_normaliser(
    logits: Float[Tensor, "classes grid_height grid_width"], mask_size: tuple[int, int], *, numbers: int
) -> Float[Tensor, "mask_height mask_width"]:
    """Return the logarithm of the softmax's denominator over these classes, at the size of the mask.

    The upsampled logits are computed in parts of at most `numbers` numbers.
    """
    (height, width), (grid_height, grid_width) = mask_size, logits.shape[1:]
    to_logits: dict[str, Any] = {"device": logits.device, "dtype": logits.dtype, "non_blocking": True}
    across = bilinear(0, width, target=width, source=grid_width)[1].to(**to_logits)
    total = logits.new_empty(mask_size)
    for rows in chunks(0, height, numbers // (len(logits) * width)):
        cells, down = bilinear(rows.start, rows.stop, target=height, source=grid_height)
        total[rows] = resample(logits[:, cells].transpose(0, 1), down.to(**to_logits), across).logsumexp(
            dim=1
        )
    return total
