"""What a training sees of the labels: inductive, transductive and fully supervised views.

Label maps hold class ids 0..C-1 and `IGNORE`. A view is a table of 256 entries applied to a whole map.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cascade_core.labels.label_set import IGNORE

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

    The published table keeps 200 too, once a second padding label. A data set of more than 200 classes has a class
    of that id, and its truth must not leak where it is unseen; no smaller one has a pixel of it.
    """
    table = torch.full((256,), WITHHELD, dtype=torch.long)
    seen = [index for index in range(num_classes) if index not in set(unseen)]
    table[seen] = torch.tensor(seen, dtype=torch.long)
    table[IGNORE] = IGNORE
    return table


# Every training step asks for the same: on a GPU, copying it there anew would wait for the forward pass.
@lru_cache(maxsize=64)
def _on(
    device: torch.device,
    make: Callable[[int, Sequence[int]], Int[Tensor, "*axes"]],
    num_classes: int,
    unseen: tuple[int, ...],
) -> Int[Tensor, "*axes"]:
    """Return on a device what `make` makes of a number of classes and the unseen ones among them."""
    return make(num_classes, unseen).to(device)


def _unseen_ids(num_classes: int, unseen: Sequence[int]) -> Int[Tensor, " unseen"]:
    return torch.tensor(list(unseen), dtype=torch.long)


def _ones_of_seen(num_classes: int, unseen: Sequence[int]) -> Int[Tensor, " classes"]:
    return torch.ones(num_classes, dtype=torch.long).index_fill(0, _unseen_ids(num_classes, unseen), 0)


def unseen_only(
    logits: Float[Tensor, "batch classes height width"], unseen: Sequence[int]
) -> Float[Tensor, "batch unseen height width"]:
    """Return the maps of the unseen classes, in the order of `unseen`."""
    return logits.index_select(1, _on(logits.device, _unseen_ids, logits.shape[1], tuple(unseen)))


def hide_unseen(
    labels: Int[Tensor, "batch height width"], num_classes: int, unseen: Sequence[int]
) -> Int[Tensor, "batch height width"]:
    """Return the inductive view: positions among the seen classes, and `IGNORE` for everything else.

    Inductive training may not know that an unseen class exists, so its pixels look exactly like
    unannotated ones.
    """
    view = _on(labels.device, inductive_table, num_classes, tuple(unseen))[labels.long()]
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
    asked = (num_classes, tuple(unseen))
    view = _on(labels.device, transductive_table, *asked)[labels.long()]
    # The sigmoid is monotone, so logits rank as scores do.
    best = _on(labels.device, _unseen_ids, *asked)[unseen_logits.argmax(dim=1)]
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
    asked = (mask_logits.shape[1], tuple(unseen))
    view = _on(labels.device, transductive_table, *asked)[labels.long()]
    candidates = ((view == WITHHELD) | (view == IGNORE)) & ~padding
    is_seen = _on(labels.device, _ones_of_seen, *asked)
    scores = mask_logits.sigmoid()
    predicted = scores.sub_(seen_penalty * is_seen[:, None, None].to(scores.dtype)).argmax(dim=1)
    return torch.where(
        candidates & (is_seen[predicted] == 0),
        predicted,
        view.masked_fill(candidates | (view == WITHHELD), IGNORE),
    )
