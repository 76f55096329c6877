"""Scores under many seen penalties and background thresholds at once, and how reliable confidence is.

For a penalty p a pixel's class is the best unseen class where its score u is above s - p, else the best seen class, whose
score is s. Under a background threshold t the pixel is background where the winner's score, less p for a seen class, is
below t (`cascade_core.inference.background`). Only s, u and their classes are needed, so one inference serves all.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from cascade_core.scoring.scores import harmonic_mean

NUM_BINS = 10
"""Bins of confidence in a reliability diagram."""


@dataclass(frozen=True)
class Best:
    """The best class of each pixel among some classes, and its score; the score is -inf if there is no class."""

    ids: Int64[Tensor, " pixels"]
    scores: Float32[Tensor, " pixels"]


@dataclass(frozen=True)
class Point:
    """Scores, as fractions, under one penalty and threshold (None: no threshold); NaN over no class."""

    penalty: float
    threshold: float | None
    miou_seen: float
    miou_unseen: float
    hiou: float


class ThresholdCounts:
    """Counts pixels for each penalty and each threshold; without thresholds, no pixel becomes background by one.

    Ids 0..num_classes-1 may be predicted. With thresholds, background has the id `num_classes` in the truth.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        penalties: Sequence[float],
        thresholds: Sequence[float] = (),
        device: torch.device | str = "cpu",
    ) -> None:
        self.num_classes, self.penalties, self.thresholds = num_classes, penalties, thresholds
        bins = len(thresholds) + 1
        self._boundaries = torch.tensor(thresholds, dtype=torch.float32, device=device)
        shape = (len(penalties), num_classes, bins)
        # A pixel's bin is the number of thresholds that its score reaches: from that place on it is background.
        self._predicted = torch.zeros(shape, dtype=torch.int64, device=device)
        self._right = torch.zeros(shape, dtype=torch.int64, device=device)
        self._background = torch.zeros((len(penalties), bins), dtype=torch.int64, device=device)
        self._true = torch.zeros(num_classes + 1, dtype=torch.int64, device=device)

    def update(self, truth: Int64[Tensor, " pixels"], seen: Best, unseen: Best) -> None:
        """Add labelled pixels, with their best seen and their best unseen class."""
        bins = len(self.thresholds) + 1
        self._true += torch.bincount(truth, minlength=self.num_classes + 1)
        for place, penalty in enumerate(self.penalties):
            ids, scores = winners(seen, unseen, penalty)
            reached = torch.bucketize(scores, self._boundaries, right=True)
            flat = ids * bins + reached
            for counts, those in ((self._predicted, flat), (self._right, flat[ids == truth])):
                added = torch.bincount(those, minlength=self.num_classes * bins)
                counts[place] += added.view(self.num_classes, bins)
            self._background[place] += torch.bincount(reached[truth == self.num_classes], minlength=bins)

    def points(self, seen: Collection[int], unseen: Collection[int]) -> list[Point]:
        """Return the scores of every penalty, and for each of every threshold, in the given orders.

        mIoU is the mean over `seen` and over `unseen` ids; a class that is neither present nor predicted is left out.
        """
        return [
            self._point(place, step, seen, unseen)
            for place in range(len(self.penalties))
            for step in range(max(1, len(self.thresholds)))
        ]

    def _point(self, place: int, step: int, seen: Collection[int], unseen: Collection[int]) -> Point:
        predicted, right = self._predicted[place], self._right[place]
        if self.thresholds:
            # Pixels in bins up to `step` reach fewer thresholds than this one.
            background = predicted[:, : step + 1].sum()[None], self._background[place, : step + 1].sum()[None]
            predicted, right = (
                torch.cat([counts[:, step + 1 :].sum(dim=1), extra])
                for counts, extra in zip((predicted, right), background, strict=True)
            )
        else:
            predicted, right = predicted.sum(dim=1), right.sum(dim=1)
        true = self._true[: len(predicted)]
        iou = right.double() / (true + predicted - right).double()
        of_seen, of_unseen = (iou[sorted(ids)].nanmean().item() for ids in (seen, unseen))
        return Point(
            penalty=self.penalties[place],
            threshold=self.thresholds[step] if self.thresholds else None,
            miou_seen=of_seen,
            miou_unseen=of_unseen,
            hiou=harmonic_mean(of_seen, of_unseen),
        )


def winners(
    seen: Best, unseen: Best, penalty: float
) -> tuple[Int64[Tensor, " pixels"], Float32[Tensor, " pixels"]]:
    """Return each pixel's class and its score under a penalty of the seen classes; equal scores go to the seen class."""
    penalised = seen.scores - penalty
    takes = unseen.scores > penalised
    return torch.where(takes, unseen.ids, seen.ids), torch.where(takes, unseen.scores, penalised)


@dataclass(frozen=True)
class ReliabilityBin:
    """Pixels whose confidence lies in one bin: their mean confidence, the share that is right, and their number."""

    confidence: float
    accuracy: float
    pixels: int


class Reliability:
    """Compares confidence with accuracy, in bins of equal width (Guo et al., ICML 2017, section 2)."""

    def __init__(self, *, device: torch.device | str = "cpu") -> None:
        self._counts, self._right, self._sums = (
            torch.zeros(NUM_BINS, dtype=torch.float64, device=device) for _ in range(3)
        )

    def update(self, confidence: Float[Tensor, " pixels"], right: Bool[Tensor, " pixels"]) -> None:
        """Add pixels with their confidence, in 0..1, and whether their label is right."""
        bins = (confidence * NUM_BINS).long().clamp(0, NUM_BINS - 1)
        for total, weights in (
            (self._counts, torch.ones_like(confidence)),
            (self._right, right.to(confidence)),
            (self._sums, confidence),
        ):
            total += torch.bincount(bins, weights=weights.double(), minlength=NUM_BINS)

    def bins(self) -> list[ReliabilityBin]:
        """Return the bins that hold a pixel, with rising confidence."""
        return [
            ReliabilityBin(total / count, right / count, int(count))
            for count, right, total in zip(
                *(t.tolist() for t in (self._counts, self._right, self._sums)), strict=True
            )
            if count
        ]

    def error(self) -> float:
        """Return the expected calibration error (equation 3 there): the mean gap, weighted by pixels; NaN without any."""
        bins = self.bins()
        pixels = sum(one.pixels for one in bins)
        gaps = sum(one.pixels * abs(one.accuracy - one.confidence) for one in bins)
        return gaps / pixels if pixels else math.nan
