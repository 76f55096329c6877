"""From mask logits to class scores: the calibration between seen and unseen classes.

A class's score is its probability at the mask's size (the *configured* size for square windows, as published),
less the seen penalty, resized to the window, averaged over windows and resized to the picture.
"""

from typing import Literal

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
