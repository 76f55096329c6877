"""Scores of generalised zero-shot segmentation, from pixel counts summed over the data set.

All classes compete for every pixel; the seen and unseen scores are means over parts of the same per-class
values. Fractions in 0..1.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit
from cascade_core.scoring.confusion import ConfusionMatrix


@dataclass(frozen=True)
class Scores:
    """Scores under one class split; nan where there is nothing to average.

    `protocol` is the name of the split, without which the numbers cannot be compared. `iou` and `accuracy`
    hold one value per class, in the order of the label set.
    """

    protocol: str
    pAcc: float
    miou: float
    miou_seen: float
    miou_unseen: float
    hiou: float
    macc: float
    macc_seen: float
    macc_unseen: float
    iou: tuple[float, ...]
    accuracy: tuple[float, ...]

    def summary(self) -> dict[str, float]:
        """Give the scalar scores by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, float)}


def scores(confusion: ConfusionMatrix, split: ClassSplit) -> Scores:
    """Score the counts of a data set.

    IoU is intersection over union per class, accuracy the share of a class's pixels that are found. A class
    that is neither present nor predicted is left out of the means (nan); one that is predicted but absent
    counts as IoU 0.

    Raises:
        UserError: the counts are of another number of classes than the split.
    """
    if confusion.num_classes != split.num_classes:
        raise UserError(
            f"counts of {confusion.num_classes} classes do not fit split {split.name!r}"
            f" of {split.num_classes}; use the split that the labels were made with"
        )
    counts = confusion.counts
    iou, accuracy = per_class(counts)
    total = int(counts.sum())
    miou_seen, miou_unseen = _mean_over(iou, split.seen), _mean_over(iou, split.unseen)
    return Scores(
        protocol=split.name,
        pAcc=int(counts.trace()) / total if total else math.nan,
        miou=iou.nanmean().item(),
        miou_seen=miou_seen,
        miou_unseen=miou_unseen,
        hiou=harmonic_mean(miou_seen, miou_unseen),
        macc=accuracy.nanmean().item(),
        macc_seen=_mean_over(accuracy, split.seen),
        macc_unseen=_mean_over(accuracy, split.unseen),
        iou=tuple(iou.tolist()),
        accuracy=tuple(accuracy.tolist()),
    )


def per_class(
    counts: Int64[Tensor, "classes classes"],
) -> tuple[Float64[Tensor, " classes"], Float64[Tensor, " classes"]]:
    """Give IoU and accuracy of every class, nan for a class with an empty union, or without pixels."""
    found = counts.diagonal().double()
    true, predicted = counts.sum(dim=1).double(), counts.sum(dim=0).double()
    return found / (true + predicted - found), found / true


def harmonic_mean(first: float, second: float) -> float:
    """Give the harmonic mean of two fractions: 0 if both are 0, nan if either is nan (no unseen class)."""
    total = first + second
    return 2 * first * second / total if total else 0.0


def _mean_over(values: Float64[Tensor, " classes"], ids: tuple[int, ...]) -> float:
    """Average over the classes given, leaving out nan; nan when none is left."""
    return values[torch.tensor(ids, dtype=torch.long)].nanmean().item()
