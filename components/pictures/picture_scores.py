"""How well one picture is labelled: what a comparison sorts by, and not to be averaged into a data set's score."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE

Labels = Integer[np.ndarray, "height width"]


@dataclass(frozen=True)
class PictureScores:
    """Shares of 1: of the labelled pixels that are right, and the mean IoU of the classes in the truth.

    None where the truth has no labelled pixel, or no class of the kind.
    """

    pixels: float | None
    miou: float | None
    miou_unseen: float | None


def picture_scores(truth: Labels, predicted: Labels, unseen: tuple[int, ...]) -> PictureScores:
    """Score one label map; ignored pixels of the truth count nowhere.

    A data set's IoU sums pixels over all pictures, so a mean over these is another number.

    Raises:
        UserError: the sizes differ.
    """
    if truth.shape != predicted.shape:
        raise UserError(f"truth of {truth.shape} and prediction of {predicted.shape} differ in size")
    counted = truth != IGNORE
    true, found = truth[counted].astype(np.int64), predicted[counted].astype(np.int64)
    if not true.size:
        return PictureScores(None, None, None)
    number = int(max(true.max(), found.max())) + 1
    hits, trues, founds = (np.bincount(ids, minlength=number) for ids in (true[true == found], true, found))
    present = np.flatnonzero(trues)
    iou = hits[present] / (trues + founds - hits)[present]
    of_unseen = iou[np.isin(present, unseen)]
    return PictureScores(
        pixels=float((true == found).mean()),
        miou=float(iou.mean()),
        miou_unseen=float(of_unseen.mean()) if of_unseen.size else None,
    )
