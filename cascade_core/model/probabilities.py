"""The probabilities that a model's logits stand for."""

from jaxtyping import Float
from torch import Tensor

from cascade_core.configs.settings import ScoreFunction


def probabilities(
    mask_logits: Float[Tensor, "batch classes height width"], score_function: ScoreFunction
) -> Float[Tensor, "batch classes height width"]:
    """Return each class's probability: the sigmoid of independent classes (focal + dice), else the softmax."""
    return mask_logits.sigmoid() if score_function == "sigmoid" else mask_logits.softmax(dim=1)
