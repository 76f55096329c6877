"""The candidate classes of a call, and everything about them that does not depend on a picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cascade_core.configs.config import Precision
from cascade_core.configs.model import NO_PENALTY
from cascade_core.configs.settings import ScoreFunction
from cascade_core.errors import UserError
from cascade_core.inference.precision import in_half
from cascade_core.inference.resampling import bilinear, chunks, resample
from cascade_core.model.queries import ClassVectors, PreparedClasses
from cascade_core.model.segmentor import Segmentor
from cascade_core.model.trunk import TrunkFeatures


@dataclass(frozen=True)
class Vocabulary:
    """A segmentor with its candidate classes.

    Attributes:
        segmentor: the model; its trunk and decoder do not depend on the classes.
        class_vectors: text vectors of the classes, then of the names that stand for background. The model gives each
            vector a score of its own.
        score_function: turns logits into scores, as the loss of the training does.
        seen: ids of the seen classes, which pay the seen penalty.
        seen_penalty: the number subtracted from their probabilities.
        background_names: number of vectors at the end that stand for background.
        query_classes: ids of the classes that the vectors before these stand for, in ascending order, where several
            synonyms may stand for one class: the class's score is the maximum of theirs, and background's that of its
            names. None: every vector stands for one class, and each name for background competes by itself.
    """

    segmentor: Segmentor
    class_vectors: ClassVectors
    score_function: ScoreFunction
    seen: Sequence[int] = ()
    seen_penalty: float = 0.0
    background_names: int = 0
    query_classes: Sequence[int] | None = None

    def __post_init__(self) -> None:
        self.segmentor.check(self.class_vectors)
        if self.penalty and self.segmentor.coupled_classes:
            raise UserError(f"seen penalty {self.penalty:g}: {NO_PENALTY}; leave --seen-penalty out")
        ids = self.query_classes
        if ids is not None:
            assert len(ids) == len(self) - self.background_names, (
                "a class for every vector before background's"
            )
            assert list(ids) == sorted(ids) and set(ids) == set(range(len(set(ids)))), ids

    def __len__(self) -> int:
        return len(self.class_vectors)

    @property
    def num_classes(self) -> int:
        """Number of classes, without background."""
        ids = self.query_classes
        return len(self) - self.background_names if ids is None else len(set(ids))

    @cached_property
    def ids(self) -> Int64[Tensor, " vectors"]:
        """The id of each vector's class; the names for background have ids from `num_classes` on."""
        if self.query_classes is None:
            return torch.arange(len(self), device=self.device)
        background = [self.num_classes] * self.background_names
        return torch.tensor([*self.query_classes, *background], device=self.device)

    def ids_of(self, vectors: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
        """Return the ids of the classes that vectors stand for; -1 stays."""
        return vectors if self.query_classes is None else self.ids[vectors].masked_fill(vectors < 0, -1)

    def among(self, classes: Sequence[int]) -> "Vocabulary":
        """Return the vocabulary of some classes, numbered anew in this order, and of background; all are unseen."""
        ids = self.ids.tolist()
        places = [(new, i) for new, old in enumerate(classes) for i, own in enumerate(ids) if own == old]
        names = range(len(self) - self.background_names, len(self))
        return replace(
            self,
            class_vectors=self.class_vectors[[*(i for _, i in places), *names]],
            seen=(),
            query_classes=None if self.query_classes is None else [new for new, _ in places],
        )

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
        return 0.0 if len(set(self.seen)) == self.num_classes else self.seen_penalty

    @cached_property
    def penalties(self) -> Float[Tensor, " vectors"]:
        """The number subtracted from each vector's probability before classes compete; scores may become negative.

        All public code of these methods subtracts 0.1 for the seen classes of inductive models; the papers' text
        does not mention it.
        """
        return self.class_penalties[self.ids]

    @cached_property
    def class_penalties(self) -> Float[Tensor, " ids"]:
        """The penalty of each id of `ids`."""
        penalties = torch.zeros(self.num_classes + max(1, self.background_names), device=self.device)
        penalties[list(self.seen)] = self.penalty
        return penalties

    def trunk(self, precision: Precision) -> Callable[[Tensor], TrunkFeatures]:
        """Return the trunk's function for calls in this precision."""
        return self._half_trunk if precision == "bf16" else self.segmentor.trunk

    @cached_property
    def _half_trunk(self) -> Callable[[Tensor], TrunkFeatures]:
        return in_half(self.segmentor.trunk)

    @cached_property
    def prepared(self) -> PreparedClasses:
        """The decoder's terms that depend on the class vectors alone."""
        with torch.no_grad():
            return self.segmentor.prepare(self.class_vectors)


def check_seen_penalty(penalty: float | None) -> None:
    """Check that a stated penalty, if there is one, is a difference of probabilities; UserError if not."""
    if penalty is not None and not 0 <= penalty <= 1:
        raise UserError(f"--seen-penalty is {penalty}; give a number from 0 to 1, such as 0.1")


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
