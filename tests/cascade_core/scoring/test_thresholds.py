"""Scores under many penalties and thresholds at once equal those of one confusion matrix each."""

import math

import numpy as np
import pytest
import torch

from cascade_core.inference.background import with_background
from cascade_core.labels.background import Background
from cascade_core.scoring.confusion import ConfusionMatrix
from cascade_core.scoring.thresholds import Best, Reliability, ThresholdCounts, winners

SEEN, UNSEEN = (0, 2, 3), (1, 4)


def pixels(seed: int, count: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Return true ids 0..5, where 5 is background, and scores of five classes."""
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.random((5, count), dtype=np.float32))
    return torch.from_numpy(rng.integers(0, 6, count)), scores


def best(scores: torch.Tensor, ids: tuple[int, ...]) -> Best:
    values, places = scores[list(ids)].max(dim=0)
    return Best(torch.tensor(ids)[places], values)


def ious(truth: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    confusion = ConfusionMatrix(6)
    confusion.update(labels, truth)
    counts = confusion.counts.double()
    return counts.diagonal() / (counts.sum(0) + counts.sum(1) - counts.diagonal())


def test_every_penalty_and_threshold_scores_as_by_a_matrix() -> None:
    penalties, thresholds = [0.0, 0.1, 0.45], [0.0, 0.4, 0.8]
    counts = ThresholdCounts(5, penalties=penalties, thresholds=thresholds)
    parts = [pixels(seed) for seed in range(3)]
    for truth, scores in parts:
        counts.update(truth, best(scores, SEEN), best(scores, UNSEEN))
    points = counts.points((*SEEN, 5), UNSEEN)
    assert [(p.penalty, p.threshold) for p in points] == [(p, t) for p in penalties for t in thresholds]
    truth, scores = (torch.cat(one, dim=-1) for one in zip(*parts, strict=True))
    for point in points:
        penalised = scores.clone()
        penalised[list(SEEN)] -= point.penalty
        values, ids = penalised.max(dim=0)
        labels = with_background(
            values.view(1, 1, -1),
            ids.view(1, 1, -1),
            background=Background(policy="threshold", threshold=point.threshold),
            num_classes=5,
        ).flatten()
        iou = ious(truth, labels)
        assert point.miou_seen == pytest.approx(iou[[*SEEN, 5]].nanmean().item())
        assert point.miou_unseen == pytest.approx(iou[list(UNSEEN)].nanmean().item())


def test_a_higher_penalty_moves_pixels_to_unseen_classes_only() -> None:
    _, scores = pixels(0)
    seen, unseen = best(scores, SEEN), best(scores, UNSEEN)
    before, after = (winners(seen, unseen, penalty)[0] for penalty in (0.1, 0.3))
    moved = before != after
    assert moved.any() and np.isin(before[moved], SEEN).all() and np.isin(after[moved], UNSEEN).all()
    assert torch.equal(winners(seen, unseen, 0.0)[0], scores.argmax(dim=0))


def test_calibration_is_measured_in_bins() -> None:
    reliability = Reliability()
    confidence = torch.tensor([0.05, 0.15, 0.15, 1.0])
    reliability.update(confidence, torch.tensor([False, True, False, True]))
    low, middle, high = reliability.bins()
    assert (low.pixels, middle.pixels, high.pixels) == (1, 2, 1)
    assert (low.accuracy, middle.accuracy, high.accuracy) == (0.0, 0.5, 1.0)
    assert reliability.error() == pytest.approx((0.05 + 2 * 0.35 + 0) / 4)
    assert math.isnan(Reliability().error())
