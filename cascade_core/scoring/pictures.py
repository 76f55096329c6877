"""Scores of single pictures, and their largest mistake. They show where to look; a data set's scores do not follow from them."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE

Labels = Integer[np.ndarray, "height width"]
Predicted = Integer[np.ndarray, "predicted_height predicted_width"]
"""The size is checked by the functions, which name both sizes in the error."""


@dataclass(frozen=True)
class PictureScores:
    """Pixel accuracy, and mean IoU over all and over the unseen classes of the truth, as fractions.

    A score is None if the truth has no labelled pixel, or no unseen class.
    """

    pixels: float | None
    miou: float | None
    miou_unseen: float | None


@dataclass(frozen=True)
class Mistake:
    """Pixels of one class that are predicted as another, by class ids.

    Attributes:
        share: their share of the picture's labelled pixels.
        share_of_class: their share of the pixels of class `truth` in this picture.
    """

    truth: int
    predicted: int
    share: float
    share_of_class: float


def picture_scores(truth: Labels, predicted: Predicted, unseen: Collection[int]) -> PictureScores:
    """Score one label map; pixels that the truth ignores do not count.

    The IoU of a data set sums pixels over all pictures, so it is not the mean of these scores.

    Raises:
        UserError: the sizes differ.
    """
    true, guess = _counted(truth, predicted)
    if not true.size:
        return PictureScores(None, None, None)
    num_classes = int(max(true.max(), guess.max())) + 1
    hits, trues, guesses = (
        np.bincount(ids, minlength=num_classes) for ids in (true[true == guess], true, guess)
    )
    present = np.flatnonzero(trues)
    iou = hits[present] / (trues + guesses - hits)[present]
    of_unseen = iou[np.isin(present, list(unseen))]
    return PictureScores(
        pixels=float((true == guess).mean()),
        miou=float(iou.mean()),
        miou_unseen=float(of_unseen.mean()) if of_unseen.size else None,
    )


def largest_mistake(truth: Labels, predicted: Predicted) -> Mistake | None:
    """Return the pair of true and predicted class with the most wrong pixels; None if no labelled pixel is wrong.

    Of equal pairs the one with the lowest ids wins.

    Raises:
        UserError: the sizes differ.
    """
    true, guess = _counted(truth, predicted)
    wrong = true != guess
    if not wrong.any():
        return None
    pairs, counts = np.unique(np.stack([true[wrong], guess[wrong]]), axis=1, return_counts=True)
    of, taken_for = pairs[:, counts.argmax()].tolist()
    return Mistake(
        truth=of,
        predicted=taken_for,
        share=float(counts.max() / true.size),
        share_of_class=float(counts.max() / (true == of).sum()),
    )


def _counted(truth: Labels, predicted: Predicted) -> tuple[np.ndarray, np.ndarray]:
    """Return the true and the predicted ids of the pixels with a label."""
    if truth.shape != predicted.shape:
        raise UserError(f"truth of {truth.shape} and prediction of {predicted.shape} differ in size")
    counted = truth != IGNORE
    return truth[counted].astype(np.int64), predicted[counted].astype(np.int64)
