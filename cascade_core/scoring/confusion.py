"""The confusion matrix of a data set: counts of pixels by true and predicted class."""

import torch
import torch.distributed as dist
from jaxtyping import Int64, Integer
from torch import Tensor

from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE
from cascade_core.parallel import is_distributed


class ConfusionMatrix:
    """Pixel counts by true class (rows) and predicted class (columns), in 64-bit integers.

    Pixels whose truth is `IGNORE` do not count. The counts live on `device`; only reading them causes a device sync.
    """

    def __init__(self, num_classes: int, *, device: torch.device | str = "cpu") -> None:
        if num_classes < 1:
            raise UserError(f"num_classes={num_classes} must be at least 1")
        self.num_classes = num_classes
        # The last bin counts ignored pixels.
        self._bins = torch.zeros(num_classes**2 + 1, dtype=torch.int64, device=device)
        self._lowest = torch.zeros(2, dtype=torch.int64, device=device)
        self._highest = torch.zeros(2, dtype=torch.int64, device=device)

    @classmethod
    def of(cls, counts: Int64[Tensor, "classes classes"]) -> "ConfusionMatrix":
        """Return a matrix with these counts."""
        confusion = cls(len(counts))
        confusion._bins[:-1] = counts.flatten()
        return confusion

    def sum_over_processes(self) -> None:
        """Add up the counts of all connected processes; each then holds those of all."""
        for values, reduction in (
            (self._bins, dist.ReduceOp.SUM),
            (self._lowest, dist.ReduceOp.MIN),
            (self._highest, dist.ReduceOp.MAX),
        ):
            if is_distributed():
                dist.all_reduce(values, op=reduction)

    @property
    def counts(self) -> Int64[Tensor, "classes classes"]:
        """The counts so far, on the CPU.

        Raises:
            UserError: an id was neither a class nor (in the truth) `IGNORE`. A predicted -1 stands for NaN scores.
        """
        for kind, low, high in zip(
            ("true", "predicted"), self._lowest.tolist(), self._highest.tolist(), strict=True
        ):
            if kind == "predicted" and low == -1:
                raise UserError(
                    "no class was predicted for some pixels, because the model's scores were not numbers there: its "
                    "weights or text vectors hold NaN; train or convert it anew"
                )
            if low < 0 or high >= self.num_classes:
                raise UserError(
                    f"{kind} ids from {low} to {high} were counted, and some lie outside 0..{self.num_classes - 1}; "
                    "check that labels and class list are of the same label set"
                )
        return self._bins[:-1].view(self.num_classes, self.num_classes).to("cpu", copy=True)

    def update(self, predicted: Integer[Tensor, "*predicted"], truth: Integer[Tensor, "*true"]) -> None:
        """Add the pixels of one or more label maps of the same shape.

        Reading the counts checks the ids; checking them here would cause a device sync.

        Raises:
            UserError: shapes differ.
        """
        if predicted.shape != truth.shape:
            raise UserError(
                f"prediction of shape {tuple(predicted.shape)} and truth of shape {tuple(truth.shape)} "
                "differ; resize the prediction to the label map first"
            )
        if not truth.numel():
            return
        ids = torch.stack([m.flatten().to(self._bins.device, torch.int64) for m in (truth, predicted)])
        ignored = ids[0] == IGNORE
        ids.masked_fill_(ignored, 0)
        lowest, highest = ids.aminmax(dim=1)
        self._lowest, self._highest = self._lowest.minimum(lowest), self._highest.maximum(highest)
        # An invalid id may land in any bin: `counts` raises then.
        bins = (ids[0] * self.num_classes + ids[1]).clamp(0, self.num_classes**2 - 1)
        bins = bins.masked_fill(ignored, self.num_classes**2)
        self._bins.scatter_add_(0, bins, torch.ones_like(bins))
