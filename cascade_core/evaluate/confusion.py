"""Counts of true against predicted classes, summed over a data set."""

from collections.abc import Iterable

import torch
from jaxtyping import Int64, Integer
from torch import Tensor

from cascade_core.labelsets import IGNORE


class ConfusionMatrix:
    """Pixel counts by true class (rows) and predicted class (columns), exact in 64-bit integers.

    Pixels whose truth is `IGNORE` count nowhere, whatever is predicted there. Counts live on the CPU; labels
    may be on any device.
    """

    def __init__(self, num_classes: int) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes={num_classes} must be at least 1")
        self.counts: Int64[Tensor, "classes classes"] = torch.zeros(
            num_classes, num_classes, dtype=torch.int64
        )

    @property
    def num_classes(self) -> int:
        return len(self.counts)

    def update(self, predicted: Integer[Tensor, "*predicted"], truth: Integer[Tensor, "*true"]) -> None:
        """Add the pixels of one or more label maps of the same shape.

        Raises:
            ValueError: shapes differ, or an id is neither a class nor (in the truth) `IGNORE`.
        """
        if predicted.shape != truth.shape:
            raise ValueError(
                f"prediction of shape {tuple(predicted.shape)} and truth of shape {tuple(truth.shape)} "
                "differ; resize the prediction to the label map first"
            )
        counted = truth != IGNORE
        rows, columns = truth[counted].long(), predicted[counted].long()
        self._check(rows, "true")
        self._check(columns, "predicted")
        flat = torch.bincount(rows * self.num_classes + columns, minlength=self.num_classes**2)
        self.counts += flat.view(self.num_classes, self.num_classes).cpu()

    def merge(self, others: Iterable["ConfusionMatrix"]) -> None:
        """Add the counts of other matrices, as of other processes or shards.

        Raises:
            ValueError: a matrix has another number of classes; nothing is added then.
        """
        matrices = list(others)
        for other in matrices:
            if other.num_classes != self.num_classes:
                raise ValueError(
                    f"cannot merge counts of {other.num_classes} classes into {self.num_classes}"
                )
        for other in matrices:
            self.counts += other.counts

    def _check(self, ids: Int64[Tensor, " pixels"], kind: str) -> None:
        if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= self.num_classes):
            stray = sorted(set(ids.unique().tolist()) - set(range(self.num_classes)))
            raise ValueError(
                f"{kind} ids {stray} lie outside 0..{self.num_classes - 1}; "
                "check that labels and class list are of the same label set"
            )
