"""From mask logits to class scores: the calibration between seen and unseen classes."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cascade_core.model.segmentor import Segmentor


def class_scores(
    mask_logits: Float[Tensor, "batch classes height width"],
    *,
    kind: Literal["focal_dice", "cross_entropy"],
    seen: Sequence[int],
    seen_penalty: float,
) -> Float[Tensor, "batch classes height width"]:
    """Return per-class probabilities with `seen_penalty` subtracted from the seen classes.

    Independent classes (focal + dice) use the sigmoid, cross-entropy the softmax. The subtraction (0.1 in
    every public code of this family, for inductive models only) is not in the papers' text; scores may
    therefore be negative.
    """
    scores = mask_logits.sigmoid() if kind == "focal_dice" else mask_logits.softmax(dim=1)
    if seen_penalty:
        scores[:, list(seen)] -= seen_penalty
    return scores


def scorer(
    segmentor: Segmentor,
    class_vectors: Float[Tensor, "classes embed"],
    *,
    kind: Literal["focal_dice", "cross_entropy"],
    seen: Sequence[int],
    seen_penalty: float,
) -> Callable[[Float[Tensor, "batch 3 height width"]], Float[Tensor, "batch classes height width"]]:
    """Return a function from pictures to class scores at the pictures' size.

    Two resizes, as published: logits to the *configured* size, then sigmoid and penalty, then to the input's.
    """

    @torch.no_grad()
    def score(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes height width"]:
        scores = class_scores(
            segmentor(images, class_vectors), kind=kind, seen=seen, seen_penalty=seen_penalty
        )
        if scores.shape[-2:] == images.shape[-2:]:
            return scores
        return F.interpolate(scores, size=images.shape[-2:], mode="bilinear", align_corners=False)

    return score
