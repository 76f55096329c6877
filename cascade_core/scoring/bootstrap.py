"""Scores of a data set whose pictures are drawn anew, with replacement: the bootstrap over pictures.

Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. Scores sum pixels over the pictures first, so a resample is a weighted
sum of the counts of pictures, and its scores follow exactly as those of the data set do.
"""

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Float64, Integer

from cascade_core.errors import UserError

RESAMPLES = 2000
AT_ONCE = 250
"""Resamples whose weights are in memory at once; the draws do not depend on it."""

Counts = Integer[np.ndarray, "pictures 3 classes"]
"""Correct, predicted and true pixels of every class in every picture."""


def resampled_scores(
    models: Sequence[Counts],
    *,
    seen: Collection[int],
    unseen: Collection[int],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[dict[str, Float64[np.ndarray, " resamples"]]]:
    """Return the scores of each model in every resample, as fractions by name; all models share each draw of pictures.

    A mean leaves out classes that a resample neither has nor predicts; over no class it is NaN.

    Raises:
        UserError: there is no picture, or the models' counts are of different numbers of pictures or classes.
    """
    shapes = {counts.shape for counts in models}
    if len(shapes) != 1 or 0 in next(iter(shapes)):
        raise UserError(
            f"counts of shapes {sorted(shapes)} cannot be resampled together; give models of the same pictures"
        )
    ((num_pictures, _, num_classes),) = shapes
    flat = [counts.reshape(num_pictures, -1).astype(np.float64) for counts in models]
    sums = [np.empty((resamples, 3 * num_classes)) for _ in models]
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, AT_ONCE):
        size = min(AT_ONCE, resamples - start)
        draws = rng.multinomial(num_pictures, np.full(num_pictures, 1 / num_pictures), size=size)
        for own, total in zip(flat, sums, strict=True):
            # Whole numbers below 2**53, so that the sums are exact.
            total[start : start + size] = draws.astype(np.float64) @ own
    return [_scores(total.reshape(resamples, 3, num_classes), seen, unseen) for total in sums]


def total_scores(counts: Counts, *, seen: Collection[int], unseen: Collection[int]) -> dict[str, float]:
    """Return the scores of the pictures as they are."""
    scores = _scores(counts.sum(axis=0, dtype=np.float64)[None], seen, unseen)
    return {name: float(values[0]) for name, values in scores.items()}


def _scores(
    sums: Float64[np.ndarray, "resamples 3 classes"], seen: Collection[int], unseen: Collection[int]
) -> dict[str, Float64[np.ndarray, " resamples"]]:
    """Score every resample as `cascade_core.scoring.scores` does a data set."""
    correct, predicted, true = sums[:, 0], sums[:, 1], sums[:, 2]
    union = true + predicted - correct
    iou = np.divide(correct, union, out=np.zeros_like(correct), where=union > 0)
    of_seen, of_unseen = (_mean(iou, union > 0, sorted(ids)) for ids in (seen, unseen))
    total = of_seen + of_unseen
    return {
        "pAcc": correct.sum(axis=1) / true.sum(axis=1),  # each picture has a labelled pixel
        "miou_seen": of_seen,
        "miou_unseen": of_unseen,
        "hiou": np.where(total == 0, 0.0, 2 * of_seen * of_unseen / np.where(total == 0, 1.0, total)),
    }


def _mean(
    iou: Float64[np.ndarray, "resamples classes"], there: np.ndarray, ids: list[int]
) -> Float64[np.ndarray, " resamples"]:
    """Return the mean over the classes `ids` that are there; NaN over none."""
    number = there[:, ids].sum(axis=1)
    return np.divide(iou[:, ids].sum(axis=1), number, out=np.full(len(iou), np.nan), where=number > 0)
