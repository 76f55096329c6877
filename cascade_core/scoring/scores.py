"""Scores of generalised zero-shot segmentation, as fractions, from pixel counts summed over the data set.

All classes compete for every pixel; seen and unseen scores are means over the seen and the unseen classes.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit
from cascade_core.scoring.confusion import ConfusionMatrix


@dataclass(frozen=True)
class Scores:
    """Scores under one class split; a mean over no class is NaN.

    `protocol` is the name of the split; scores of different protocols are not comparable. `iou` and `accuracy` hold
    one value per class, in the order of the label set.
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
        """Return the scalar scores by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, float)}


def scores(confusion: ConfusionMatrix, split: ClassSplit) -> Scores:
    """Compute the scores of a data set from its counts.

    A class's IoU is intersection over union; its accuracy is the share of its pixels that are predicted correctly.
    The means leave out a class that is neither present nor predicted (NaN); a predicted but absent class has IoU 0.

    Raises:
        UserError: counts and split differ in their number of classes.
    """
    if confusion.num_classes != split.num_classes:
        raise UserError(
            f"counts of {confusion.num_classes} classes do not fit split {split.name!r} "
            f"of {split.num_classes}; use the split that the labels were made with"
        )
    counts = confusion.counts
    correct, true, predicted = (c.double() for c in (counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)))
    iou, accuracy = correct / (true + predicted - correct), correct / true
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


def harmonic_mean(first: float, second: float) -> float:
    """Return the harmonic mean of two fractions: 0 if both are 0, NaN if either is NaN (no unseen class)."""
    total = first + second
    return 2 * first * second / total if total else 0.0


def _mean_over(values: Float64[Tensor, " classes"], ids: tuple[int, ...]) -> float:
    """Return the mean over some classes without NaN values; NaN if none is left."""
    return values[torch.tensor(ids, dtype=torch.long)].nanmean().item()
