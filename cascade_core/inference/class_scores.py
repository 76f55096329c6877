"""From mask logits to class scores: the calibration between seen and unseen classes.

A class's score is its probability at the mask's size (the *configured* size for square windows, as published),
less the seen penalty, resized to the window, averaged over windows and resized to the picture.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Kind = Literal["focal_dice", "cross_entropy"]
"""Of a loss, which says what the logits mean."""


def probabilities(
    mask_logits: Float[Tensor, "batch classes height width"], kind: Kind
) -> Float[Tensor, "batch classes height width"]:
    """Return each class's probability: the sigmoid of independent classes (focal + dice), else the softmax."""
    match kind:
        case "focal_dice":
            return mask_logits.sigmoid()
        case "cross_entropy":
            return mask_logits.softmax(dim=1)


def seen_penalties(
    num_classes: int, *, seen: Sequence[int], seen_penalty: float, device: torch.device
) -> Float[Tensor, " classes"]:
    """Return what is taken off each class's probability before they are compared.

    Taking 0.1 off the seen classes (in every public code of this family, for inductive models only) is not in
    the papers' text; scores may therefore be negative.
    """
    taken = torch.zeros(num_classes, device=device)
    taken[list(seen)] = seen_penalty
    return taken
