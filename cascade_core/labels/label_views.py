"""Label views: what inductive, transductive and fully supervised training may see of a label map.

Label maps hold class ids 0..C-1 and `IGNORE`. A table of 256 entries turns a label map into a view.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cascade_core.labels.label_set import IGNORE

Score = Callable[[Float[Tensor, "batch classes height width"]], Float[Tensor, "batch classes height width"]]
"""Turns logits into new scores: a sigmoid of each class, or a softmax over the classes."""
WITHHELD = -1
"""The entry of tables and views for a pixel of an unseen class, whose label training must not read."""


def inductive_table(num_classes: int, unseen: Sequence[int]) -> Int[Tensor, "256"]:
    """Renumber seen classes 0..S-1, keep `IGNORE` and withhold every other id.

    Inductive training uses the text vectors of seen classes only, so a label is a *position* among them.
    """
    seen = [index for index in range(num_classes) if index not in unseen]
    return _table(seen, torch.arange(len(seen)))


def transductive_table(num_classes: int, unseen: Sequence[int]) -> Int[Tensor, "256"]:
    """Keep seen ids (every class's text vector is used) and `IGNORE`; withhold every other id.

    The published table also keeps id 200, an earlier padding label. This table does not: in a data set of more than
    200 classes, 200 is a class, and if that class is unseen its labels would leak; smaller data sets have no pixel of
    that id.
    """
    seen = [index for index in range(num_classes) if index not in unseen]
    return _table(seen, torch.tensor(seen, dtype=torch.long))


def _table(seen: list[int], labels: Int[Tensor, " seen"]) -> Int[Tensor, "256"]:
    table = torch.full((256,), WITHHELD, dtype=torch.long)
    table[seen] = labels
    table[IGNORE] = IGNORE
    return table


# Training asks for the same tables at every step; without the cache each copy to a GPU would be a device sync.
@lru_cache(maxsize=64)
def _on(
    device: torch.device,
    make: Callable[[int, Sequence[int]], Int[Tensor, "*axes"]],
    num_classes: int,
    unseen: tuple[int, ...],
) -> Int[Tensor, "*axes"]:
    """Return `make(num_classes, unseen)` on a device."""
    return make(num_classes, unseen).to(device)


def _unseen_ids(num_classes: int, unseen: Sequence[int]) -> Int[Tensor, " unseen"]:
    return torch.tensor(list(unseen), dtype=torch.long)


def unseen_only(
    logits: Float[Tensor, "batch classes height width"], unseen: Sequence[int]
) -> Float[Tensor, "batch unseen height width"]:
    """Select the logits of the unseen classes, in the order of `unseen`."""
    return logits.index_select(1, _on(logits.device, _unseen_ids, logits.shape[1], tuple(unseen)))


def hide_unseen(
    labels: Int[Tensor, "batch height width"], num_classes: int, unseen: Sequence[int]
) -> Int[Tensor, "batch height width"]:
    """Return the inductive view: positions among the seen classes, and `IGNORE` for all other pixels.

    Inductive training must not know that an unseen class exists, so its pixels look like unannotated ones.
    """
    view = _on(labels.device, inductive_table, num_classes, tuple(unseen))[labels.long()]
    return view.masked_fill(view == WITHHELD, IGNORE)


@dataclass(frozen=True)
class LabelRule:
    """How a pixel gets a class from a model's logits: the best score, if it is high enough.

    Attributes:
        seen_penalty: the number subtracted from the scores of seen classes before classes compete.
        confidence: the least score of a label, without the penalty; a pixel with less becomes `IGNORE`.
        score: turns logits into scores.
    """

    seen_penalty: float = 0.0
    confidence: float = 0.0
    score: Score = torch.sigmoid

    def labels(
        self, mask_logits: Float[Tensor, "batch classes height width"], is_seen: Bool[Tensor, " classes"]
    ) -> Int[Tensor, "batch height width"]:
        """Return each pixel's class under the rule, which is that of inference."""
        scores = self.score(mask_logits)
        penalties = self.seen_penalty * is_seen.to(scores.dtype)
        best = scores.sub_(penalties[:, None, None]).argmax(dim=1)
        if self.confidence == 0:
            return best
        own = scores.gather(1, best[:, None])[:, 0] + penalties[best]
        return best.masked_fill(own < self.confidence, IGNORE)


@torch.no_grad()
def oracle_pseudo_labels(
    labels: Int[Tensor, "batch height width"],
    unseen_logits: Float[Tensor, "batch unseen height width"],
    num_classes: int,
    unseen: Sequence[int],
    *,
    rule: LabelRule = LabelRule(),
) -> Int[Tensor, "batch height width"]:
    """Return the transductive view as published: withheld pixels get the argmax of the unseen classes.

    This is an oracle: the ground truth shows *that* a pixel has an unseen class, and the model chooses which. As
    published there is no confidence threshold and no teacher: `unseen_logits`, of the classes `unseen` in that order,
    come from the same forward pass (dropout included) as the loss. A softmax is over the unseen classes, since the truth
    excludes the others; no seen class competes, so nothing has a penalty.
    """
    key = (num_classes, tuple(unseen))
    view = _on(labels.device, transductive_table, *key)[labels.long()]
    # The sigmoid is monotone, so the argmax of logits is that of scores.
    best = _on(labels.device, _unseen_ids, *key)[unseen_logits.argmax(dim=1)]
    if rule.confidence > 0:
        best = best.masked_fill(rule.score(unseen_logits).amax(dim=1) < rule.confidence, IGNORE)
    return torch.where(view == WITHHELD, best, view)


@torch.no_grad()
def strict_pseudo_labels(
    labels: Int[Tensor, "batch height width"],
    mask_logits: Float[Tensor, "batch classes height width"],
    unseen: Sequence[int],
    *,
    padding: Bool[Tensor, "batch height width"],
    rule: LabelRule,
) -> Int[Tensor, "batch height width"]:
    """Return the strict transductive view, made from labels of an annotator who does not know the unseen classes.

    Unseen pixels look like unannotated ones, so both are candidates unless they are padding. A candidate gets the
    class that the rule gives it if that class is unseen; otherwise it is `IGNORE`.
    """
    table, is_seen = _table_and_seen(mask_logits, unseen)
    view = table[labels.long()]
    candidates = ((view == WITHHELD) | (view == IGNORE)) & ~padding
    best = rule.labels(mask_logits, is_seen)
    confident = candidates & (best != IGNORE)
    return torch.where(
        confident & ~is_seen[best.where(confident, 0)],
        best,
        view.masked_fill(candidates | (view == WITHHELD), IGNORE),
    )


@torch.no_grad()
def unlabelled_pseudo_labels(
    mask_logits: Float[Tensor, "batch classes height width"],
    unseen: Sequence[int],
    *,
    padding: Bool[Tensor, "batch height width"],
    rule: LabelRule,
) -> Int[Tensor, "batch height width"]:
    """Return the rule's labels, of seen and unseen classes, for pictures without any label; padding is `IGNORE`."""
    _, is_seen = _table_and_seen(mask_logits, unseen)
    return rule.labels(mask_logits, is_seen).masked_fill(padding, IGNORE)


def _table_and_seen(
    mask_logits: Float[Tensor, "batch classes height width"], unseen: Sequence[int]
) -> tuple[Int[Tensor, "256"], Bool[Tensor, " classes"]]:
    """Return the transductive table on the logits' device, and which of their classes are seen."""
    num_classes = mask_logits.shape[1]
    table = _on(mask_logits.device, transductive_table, num_classes, tuple(unseen))
    return table, table[:num_classes] != WITHHELD
