"""What a training sees of the labels: inductive, transductive and fully supervised views.

Label maps hold class ids 0..C-1 and `IGNORE`. A view is a table of 256 entries applied to a whole map.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cascade_core.labelsets import IGNORE

# In transductive tables and maps: a pixel of some unseen class, its name withheld.
WITHHELD = -1


def inductive_table(num_classes: int, unseen: Sequence[int]) -> Int[Tensor, "256"]:
    """Renumber seen classes 0..S-1; withhold every other id; leave `IGNORE`.

    Inductive training feeds only the seen classes' text vectors, so a label is a *position* among them.
    """
    table = torch.full((256,), WITHHELD, dtype=torch.long)
    seen = [index for index in range(num_classes) if index not in set(unseen)]
    table[seen] = torch.arange(len(seen))
    table[IGNORE] = IGNORE
    return table


def transductive_table(num_classes: int, unseen: Sequence[int]) -> Int[Tensor, "256"]:
    """Keep seen ids as they are (every class's text vector is fed); withhold every other id; leave `IGNORE`.

    Published quirk: 200, once meant as a second padding label, is left as it is too.
    """
    table = torch.full((256,), WITHHELD, dtype=torch.long)
    seen = [index for index in range(num_classes) if index not in set(unseen)]
    table[seen] = torch.tensor(seen, dtype=torch.long)
    table[200] = 200
    table[IGNORE] = IGNORE
    return table


def hide_unseen(
    labels: Int[Tensor, "batch height width"], num_classes: int, unseen: Sequence[int]
) -> Int[Tensor, "batch height width"]:
    """Return the inductive view: positions among the seen classes, and `IGNORE` for everything else.

    Inductive training may not know that an unseen class exists, so its pixels look exactly like
    unannotated ones.
    """
    view = inductive_table(num_classes, unseen).to(labels.device)[labels.long()]
    return view.masked_fill(view == WITHHELD, IGNORE)


@torch.no_grad()
def oracle_pseudo_labels(
    labels: Int[Tensor, "batch height width"],
    unseen_logits: Float[Tensor, "batch unseen height width"],
    num_classes: int,
    unseen: Sequence[int],
) -> Int[Tensor, "batch height width"]:
    """Return the transductive view as published: withheld pixels get their best unseen class.

    An oracle: the ground truth tells *that* a pixel is of some unseen class, the model only which. No
    confidence threshold, no teacher; `unseen_logits`, of the classes `unseen` in that order, come from the
    same forward pass (dropout included) that the loss uses.
    """
    view = transductive_table(num_classes, unseen).to(labels.device)[labels.long()]
    # The sigmoid is monotone, so logits rank as scores do.
    best = torch.tensor(list(unseen), device=labels.device)[unseen_logits.argmax(dim=1)]
    return torch.where(view == WITHHELD, best, view)


@torch.no_grad()
def strict_pseudo_labels(
    labels: Int[Tensor, "batch height width"],
    mask_logits: Float[Tensor, "batch classes height width"],
    unseen: Sequence[int],
    *,
    padding: Bool[Tensor, "batch height width"],
    seen_penalty: float,
) -> Int[Tensor, "batch height width"]:
    """Return a transductive view that knows no more than an annotator who skipped the unseen classes.

    Unseen pixels and unannotated ones look alike, so every one that is not padding is a candidate. It
    becomes the unseen class the model itself would predict there under the inference rule (sigmoid scores,
    `seen_penalty` off the seen ones); where the model predicts a seen class it stays `IGNORE`.
    """
    view = transductive_table(mask_logits.shape[1], unseen).to(labels.device)[labels.long()]
    candidates = ((view == WITHHELD) | (view == IGNORE)) & ~padding
    scores = mask_logits.sigmoid()
    seen = [index for index in range(mask_logits.shape[1]) if index not in set(unseen)]
    scores[:, seen] -= seen_penalty
    predicted = scores.argmax(dim=1)
    predicted_unseen = torch.isin(predicted, torch.tensor(list(unseen), device=labels.device))
    return torch.where(
        candidates & predicted_unseen,
        predicted,
        view.masked_fill(candidates | (view == WITHHELD), IGNORE),
    )
