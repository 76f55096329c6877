"""Single pictures: their counts, which add up to the data set's scores, and their own scores and largest mistake.

The scores show where to look; a data set's scores do not follow from them.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, Integer

from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE

Labels = Integer[np.ndarray, "height width"]
Predicted = Integer[np.ndarray, "predicted_height predicted_width"]
"""The size is checked by the functions, which name both sizes in the error."""


@dataclass(frozen=True)
class PictureCounts:
    """Labelled pixels of one picture, for each class that its truth or its prediction has there, by rising id."""

    ids: Int64[np.ndarray, " present"]
    correct: Int64[np.ndarray, " present"]
    predicted: Int64[np.ndarray, " present"]
    true: Int64[np.ndarray, " present"]


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


def picture_counts(truth: Labels, predicted: Predicted) -> PictureCounts:
    """Count the pixels of each class in one label map; pixels that the truth ignores do not count.

    Raises:
        UserError: the sizes differ.
    """
    true, guess = _counted(truth, predicted)
    num_classes = int(max(true.max(initial=0), guess.max(initial=0))) + 1
    correct, trues, guesses = (
        np.bincount(ids, minlength=num_classes) for ids in (true[true == guess], true, guess)
    )
    ids = np.flatnonzero(trues + guesses)
    return PictureCounts(ids, correct[ids], guesses[ids], trues[ids])


def scores_of_counts(counts: PictureCounts, unseen: Collection[int]) -> PictureScores:
    """Score one picture by its counts.

    The IoU of a data set sums pixels over all pictures, so it is not the mean of these scores.
    """
    if not len(counts.ids):
        return PictureScores(None, None, None)
    present = counts.true > 0
    correct, true = counts.correct[present], counts.true[present]
    iou = correct / (true + counts.predicted[present] - correct)
    of_unseen = iou[np.isin(counts.ids[present], list(unseen))]
    return PictureScores(
        pixels=float(correct.sum() / true.sum()),
        miou=float(iou.mean()),
        miou_unseen=float(of_unseen.mean()) if of_unseen.size else None,
    )


def picture_scores(truth: Labels, predicted: Predicted, unseen: Collection[int]) -> PictureScores:
    """Score one label map; pixels that the truth ignores do not count.

    Raises:
        UserError: the sizes differ.
    """
    return scores_of_counts(picture_counts(truth, predicted), unseen)


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
