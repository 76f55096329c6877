"""From mask logits to class scores: the calibration between seen and unseen classes."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cascade_core.model.segmentor import Segmentor

Kind = Literal["focal_dice", "cross_entropy"]
"""Of a loss, which says what the logits mean."""


def probabilities(
    mask_logits: Float[Tensor, "batch classes height width"],
    kind: Kind,
    *,
    normaliser: Float[Tensor, "batch 1 height width"] | None = None,
) -> Float[Tensor, "batch classes height width"]:
    """Return each class's probability: the sigmoid of independent classes (focal + dice), else the softmax.

    `normaliser` is the logarithm of the softmax's denominator over all classes, for logits of a part of them.
    """
    match kind:
        case "focal_dice":
            return mask_logits.sigmoid()
        case "cross_entropy":
            return mask_logits.softmax(dim=1) if normaliser is None else (mask_logits - normaliser).exp()


def seen_penalties(
    num_classes: int, *, seen: Sequence[int], seen_penalty: float, device: torch.device
) -> Float[Tensor, " classes"]:
    """Return what is taken off each class's probability before they are compared."""
    taken = torch.zeros(num_classes, device=device)
    taken[list(seen)] = seen_penalty
    return taken


def class_scores(
    mask_logits: Float[Tensor, "batch classes height width"],
    *,
    kind: Kind,
    seen: Sequence[int],
    seen_penalty: float,
) -> Float[Tensor, "batch classes height width"]:
    """Return per-class probabilities with `seen_penalty` subtracted from the seen classes.

    The subtraction (0.1 in every public code of this family, for inductive models only) is not in the
    papers' text; scores may therefore be negative.
    """
    scores = probabilities(mask_logits, kind)
    if seen_penalty:
        num_classes, device = scores.shape[1], scores.device
        taken = seen_penalties(num_classes, seen=seen, seen_penalty=seen_penalty, device=device)
        scores -= taken[:, None, None]
    return scores


def scorer(
    segmentor: Segmentor,
    class_vectors: Float[Tensor, "classes embed"],
    *,
    kind: Kind,
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
