"""Which pixels are background: the policies of `cascade_core.labels.background`, exactly.

Scores s are those that classes compete with: after the sigmoid (or softmax), less the seen penalty, averaged
over windows, resized to the label map. Background has the id C, after the C named classes.

- dropped, as published: argmax_c s_c. Nothing is called background, and background pixels are not scored.
- threshold t: C where max_c s_c < t, else argmax_c s_c. The best score is the very one that won, so that a seen
  class reaches t only with a probability of t plus its penalty.
- prompts: names n_1..n_k get text vectors of their own after those of the classes, and scores without penalty:
  C where max_j s_nj > max_c s_c, else argmax_c s_c. A tie goes to the class.
"""

from jaxtyping import Float, Int64
from torch import Tensor

from cascade_core.errors import UserError
from cascade_core.labels.background import Background
from cascade_core.labels.class_split import ClassSplit


def with_background(
    best_scores: Float[Tensor, "batch height width"],
    best: Int64[Tensor, "batch height width"],
    *,
    background: Background,
    num_vectors: int,
) -> Int64[Tensor, "batch height width"]:
    """Give label maps in which background has the id after the classes, from the best score and its vector.

    Under "prompts" the last of the `num_vectors` text vectors are those of the background's names.
    """
    match background.policy:
        case "threshold":
            assert background.threshold is not None
            return best.masked_fill(best_scores < background.threshold, num_vectors)
        case "prompts":
            return best.clamp(max=num_vectors - len(background.names))
        case "dropped":
            return best


def scored_split(split: ClassSplit, background: Background) -> ClassSplit:
    """Give the split that predictions are scored by: with background as a class unless the policy drops it.

    `split` is what the label maps are of; where it counts background already, a policy must say how it is told.

    Raises:
        UserError: it does and the policy is "dropped", or its label maps have no background to score by.
    """
    if background.policy != "dropped":
        return split.foreground().with_background()
    if split.label_set.has_background:
        raise UserError(
            f"protocol {split.name!r} counts background as a class, and policy 'dropped' never predicts it; "
            "say how it is told: --background threshold=0.3 or --background prompts=sky,wall"
        )
    return split
