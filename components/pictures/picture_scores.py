"""Scores of single pictures, by which a comparison sorts them; their mean is not the score of the data set."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE

Labels = Integer[np.ndarray, "height width"]


@dataclass(frozen=True)
class PictureScores:
    """Pixel accuracy, and mean IoU over the (unseen) classes in the truth, as fractions.

    A score is None if the truth has no labelled pixel, or no class of the kind.
    """

    pixels: float | None
    miou: float | None
    miou_unseen: float | None


def picture_scores(truth: Labels, predicted: Labels, unseen: tuple[int, ...]) -> PictureScores:
    """Score one label map; pixels that the truth ignores do not count.

    The IoU of a data set sums pixels over all pictures, so it is not the mean of these scores.

    Raises:
        UserError: the sizes differ.
    """
    if truth.shape != predicted.shape:
        raise UserError(f"truth of {truth.shape} and prediction of {predicted.shape} differ in size")
    counted = truth != IGNORE
    true, guess = truth[counted].astype(np.int64), predicted[counted].astype(np.int64)
    if not true.size:
        return PictureScores(None, None, None)
    num_classes = int(max(true.max(), guess.max())) + 1
    hits, trues, guesses = (
        np.bincount(ids, minlength=num_classes) for ids in (true[true == guess], true, guess)
    )
    present = np.flatnonzero(trues)
    iou = hits[present] / (trues + guesses - hits)[present]
    of_unseen = iou[np.isin(present, unseen)]
    return PictureScores(
        pixels=float((true == guess).mean()),
        miou=float(iou.mean()),
        miou_unseen=float(of_unseen.mean()) if of_unseen.size else None,
    )
