"""The text vectors and labels that a training may use: inductive, transductive or supervised."""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cascade_core.batches.samples import Batch
from cascade_core.configs.config import STRICT_SEEN_PENALTY, RunConfig
from cascade_core.configs.settings import TrainedSetting
from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_views import (
    LabelRule,
    hide_unseen,
    oracle_pseudo_labels,
    strict_pseudo_labels,
    unlabelled_pseudo_labels,
    unseen_only,
)
from cascade_core.losses.resize import resize_logits
from cascade_core.model.probabilities import probabilities
from cascade_core.model.queries import ClassVectors

USUAL_RULE = LabelRule(seen_penalty=STRICT_SEEN_PENALTY)
PictureLabels = Int[Tensor, "1 label_height label_width"]


@dataclass(frozen=True)
class Supervision:
    """One training setting over one class split.

    Attributes:
        rule: how logits become pseudo-labels.
    """

    setting: TrainedSetting
    split: ClassSplit
    rule: LabelRule = USUAL_RULE

    @classmethod
    def of(cls, config: RunConfig, setting: TrainedSetting, split: ClassSplit) -> "Supervision":
        """Return the supervision of a run, whose pseudo-labels follow the rule of inference of the model that makes them.

        A training-free teacher has a softmax and no penalty.
        """
        own = config.self_train
        free = own.teacher == "training_free"
        rule = LabelRule(
            seen_penalty=0.0 if free else own.strict_seen_penalty,
            confidence=own.confidence,
            score=partial(probabilities, score_function="softmax" if free else config.loss.score_function),
        )
        return cls(setting, split, rule)

    def training_vectors(self, class_vectors: ClassVectors) -> Float[Tensor, "fed_classes *templates embed"]:
        """Return the text vectors for training: of the seen classes for inductive training, else of all classes.

        Raises:
            UserError: the number of vectors is not the split's number of classes.
        """
        if len(class_vectors) != self.split.num_classes:
            raise UserError(
                f"{len(class_vectors)} text vectors for the {self.split.num_classes} classes of "
                f"protocol {self.split.name!r}; make them again from its class names"
            )
        return class_vectors[list(self.split.seen)] if self.setting == "inductive" else class_vectors

    @torch.no_grad()
    def targets(
        self,
        batch: Batch,
        grid_logits: Float[Tensor, "batch fed_classes grid_height grid_width"],
        *,
        mask_size: tuple[int, int],
    ) -> Int[Tensor, "batch label_height label_width"]:
        """Return the labels for the loss: indices into the training vectors, `IGNORE` elsewhere.

        Pseudo-labels come from the logits upsampled to `mask_size`, and then to the labels' size if it differs. This
        upsamples one picture at a time to save memory. Labels that a teacher made before the training stay as they
        are. Pictures without labels get pseudo-labels of all classes.
        """
        split, labels = self.split, batch.labels
        match self.setting:
            case "supervised":
                return labels
            case "inductive":
                return hide_unseen(labels, split.num_classes, split.unseen)
            case "transductive_oracle" | "transductive_strict":
                parts = zip(labels.split(1), grid_logits.split(1), batch.padding.split(1), strict=True)
                none = (False,) * len(labels)
                kinds = zip(batch.by_teacher or none, batch.unlabelled or none, strict=True)
                return torch.cat(
                    [
                        part[0]
                        if is_teachers
                        else self._pseudo_labels(*part, mask_size, unlabelled=unlabelled)
                        for part, (is_teachers, unlabelled) in zip(parts, kinds, strict=True)
                    ]
                )

    def _pseudo_labels(
        self,
        labels: PictureLabels,
        grid_logits: Float[Tensor, "1 classes grid_height grid_width"],
        padding: Bool[Tensor, "1 label_height label_width"],
        mask_size: tuple[int, int],
        *,
        unlabelled: bool,
    ) -> PictureLabels:
        split, size = self.split, (labels.shape[-2], labels.shape[-1])
        if self.setting == "transductive_oracle" and not unlabelled:
            unseen_logits = resize_logits(unseen_only(grid_logits, split.unseen), mask_size, size)
            return oracle_pseudo_labels(
                labels, unseen_logits, split.num_classes, split.unseen, rule=self.rule
            )
        logits = resize_logits(grid_logits, mask_size, size)
        if unlabelled:
            return unlabelled_pseudo_labels(logits, split.unseen, padding=padding, rule=self.rule)
        return strict_pseudo_labels(labels, logits, split.unseen, padding=padding, rule=self.rule)
