"""A model held against the label maps of a data set: what it predicts, counted over a whole split."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd
from torch import Tensor

from cascade_core.batches.ahead import batches
from cascade_core.batches.samples import Batch, eval_dataset
from cascade_core.checkpoints.manifest import CheckpointManifest
from cascade_core.configs.config import EvalConfig, RunConfig
from cascade_core.errors import UserError
from cascade_core.inference.label_maps import predictions
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.class_split import ClassSplit, TargetSeen
from cascade_core.scoring.confusion import ConfusionMatrix

Watch = Callable[[Batch, Tensor], None]
"""Called with each batch and its predicted label maps, which are on the model's device."""


def scored_batches(
    rows: pd.DataFrame, root: Path, *, config: RunConfig, scored: ClassSplit
) -> Iterable[Batch]:
    """Give the pictures of index rows as a run's evaluation reads them, labels in the ids of `scored`.

    Pictures of several sizes come one by one, since they do not stack.
    """
    dataset = eval_dataset(
        rows, root, data=config.data, label_set=scored.label_set, short_side=config.evaluate.short_side
    )
    same_size = rows[["height", "width"]].drop_duplicates().shape[0] == 1
    batch_size = config.evaluate.batch_size if same_size else 1
    return batches(dataset, batch_size=batch_size, workers=config.train.workers)


def counted(
    vocabulary: Vocabulary,
    pictures: Iterable[Batch],
    *,
    inference: EvalConfig,
    scored: ClassSplit,
    watch: Watch = lambda _batch, _predicted: None,
) -> ConfusionMatrix:
    """Predict every picture and count true against predicted classes."""
    confusion = ConfusionMatrix(scored.num_classes, device=vocabulary.device)
    for batch, predicted in predictions(vocabulary, pictures, evaluate=inference):
        confusion.update(predicted, batch.labels)
        watch(batch, predicted)
    return confusion


def carried_over(target: ClassSplit, manifest: CheckpointManifest, *, seen: TargetSeen) -> ClassSplit:
    """Give the split of a target data set as a checkpoint of another one is scored on it.

    "all": every class is seen, as published. "names": those whose names the checkpoint saw, as they stand:
    "tvmonitor" is not "tv", and then counts as unseen.

    Raises:
        UserError: by names no class of the target was seen, so that there is nothing to keep apart.
    """
    name = f"{target.name} from {manifest.config.data.protocol}"
    if seen == "all":
        return replace(target, name=name, unseen_names=())
    known = set(manifest.classes) - set(manifest.unseen)
    unseen = tuple(one for one in target.classes if one not in known)
    if len(unseen) == target.num_classes:
        raise UserError(
            f"target {target.name!r} shares no class name with the {len(known)} seen classes of the checkpoint "
            f"({manifest.config.data.protocol!r}); count all its classes as seen, give a target that has some, or "
            "a checkpoint of such a protocol"
        )
    return replace(target, name=name, unseen_names=unseen)
