"""Which classes a training feeds as text, and which labels it sees: inductive, transductive or full."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from cascade_core.data.datasets import Batch
from cascade_core.labels import hide_unseen, oracle_pseudo_labels, strict_pseudo_labels
from cascade_core.labelsets import ClassSplit

Setting = Literal["inductive", "transductive_oracle", "transductive_strict", "supervised"]


@dataclass(frozen=True)
class Supervision:
    """One training setting over one class split."""

    setting: Setting
    split: ClassSplit
    strict_seen_penalty: float = 0.1

    def training_vectors(
        self, class_vectors: Float[Tensor, "classes embed"]
    ) -> Float[Tensor, "fed_classes embed"]:
        """Return the text vectors that training feeds: the seen ones inductively, else all.

        Raises:
            ValueError: the number of vectors is not the split's number of classes.
        """
        if len(class_vectors) != self.split.num_classes:
            raise ValueError(
                f"{len(class_vectors)} text vectors for the {self.split.num_classes} classes of "
                f"protocol {self.split.name!r}; make them anew from its class names"
            )
        return class_vectors[list(self.split.seen)] if self.setting == "inductive" else class_vectors

    @torch.no_grad()
    def view(
        self, batch: Batch, mask_logits: Float[Tensor, "batch fed_classes height width"]
    ) -> Int[Tensor, "batch label_height label_width"]:
        """Return the labels that the loss sees, ids indexing the vectors fed, `IGNORE` elsewhere."""
        split, labels = self.split, batch.labels
        match self.setting:
            case "supervised":
                return labels
            case "inductive":
                return hide_unseen(labels, split.num_classes, split.unseen)
            case "transductive_oracle":
                return oracle_pseudo_labels(labels, _at_label_size(mask_logits, labels), split.unseen)
            case "transductive_strict":
                return strict_pseudo_labels(
                    labels,
                    _at_label_size(mask_logits, labels),
                    split.unseen,
                    padding=batch.padding,
                    seen_penalty=self.strict_seen_penalty,
                )


def _at_label_size(
    mask_logits: Float[Tensor, "batch classes height width"],
    labels: Int[Tensor, "batch label_height label_width"],
) -> Float[Tensor, "batch classes label_height label_width"]:
    if mask_logits.shape[-2:] == labels.shape[-2:]:
        return mask_logits
    return F.interpolate(mask_logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
