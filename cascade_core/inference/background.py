"""Which pixels are background, under each policy of `cascade_core.labels.background`.

Let s_c be the score of class c (`labelling.py` defines it) at a pixel. Background has the id C, after the C classes.

- dropped, as published: argmax_c s_c. No pixel is predicted as background, and background pixels are not scored.
- threshold t: C where max_c s_c < t, else argmax_c s_c. The threshold applies to the penalised score, so a seen
  class needs a probability of t plus its penalty.
- prompts: names n_1..n_k have text vectors after the classes' own, and pay no penalty: C where
  max_j s_nj > max_c s_c, else argmax_c s_c. A tie goes to the class. With a threshold t besides, also where the
  maximum of all these scores is below t.
"""

from jaxtyping import Float, Int64
from torch import Tensor

from cascade_core.errors import UserError
from cascade_core.labels.background import Background
from cascade_core.labels.class_split import ClassSplit


def with_background(
    best_scores: Float[Tensor, "*shape"],
    best: Int64[Tensor, "*shape"],
    *,
    background: Background,
    num_classes: int,
) -> Int64[Tensor, "*shape"]:
    """Return label maps with background as the id `num_classes`, from each pixel's best score and its id.

    Under "prompts" the ids from `num_classes` on belong to the background's names.
    """
    labels = best.clamp(max=num_classes)
    if background.threshold is None:
        return labels
    return labels.masked_fill(best_scores < background.threshold, num_classes)


def scored_split(split: ClassSplit, background: Background) -> ClassSplit:
    """Return the split to score predictions on: `split` with background as a class, unless the policy drops it.

    Raises:
        UserError: `split` counts background as a class but the policy is "dropped", or the policy predicts
            background but the label maps have none.
    """
    if background.policy != "dropped":
        return split.foreground().with_background()
    if split.label_set.has_background:
        raise UserError(
            f"protocol {split.name!r} counts background as a class, and policy 'dropped' never predicts it; "
            "give a policy that does: --background threshold=0.3 or --background prompts=sky,wall"
        )
    return split
