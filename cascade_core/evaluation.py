"""What a model is scored on: the pictures of a split as evaluation reads them, and the classes of another data set."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from cascade_core.batches.prefetch import batches
from cascade_core.batches.samples import Batch, eval_dataset
from cascade_core.checkpoints.manifest import CheckpointManifest
from cascade_core.configs.config import RunConfig
from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit, TargetSeen


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
