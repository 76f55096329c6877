"""The inputs of evaluation: batches of a split's pictures, and the class split of a target data set."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cascade_core.batches.prefetch import batches
from cascade_core.batches.samples import Batch, eval_dataset
from cascade_core.checkpoints.manifest import CheckpointManifest
from cascade_core.configs.config import RunConfig
from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit, TargetSeen
from cascade_core.parallel import World
from cascade_core.runtime.cores import loading_workers


def batch_size_of(rows: pd.DataFrame, config: RunConfig) -> int:
    """Return the pictures of a batch: the configured number if all pictures have one size, else 1."""
    same_size = rows[["height", "width"]].drop_duplicates().shape[0] == 1
    return config.evaluate.batch_size if same_size else 1


def share_of(rows: pd.DataFrame, config: RunConfig, world: World) -> pd.DataFrame:
    """Return the index rows of this process's batches: every n-th of those that a single process would cut."""
    batch = np.arange(len(rows)) // batch_size_of(rows, config)
    return rows[batch % world.size == world.rank]


def scored_batches(
    rows: pd.DataFrame, root: Path, *, config: RunConfig, split: ClassSplit, batch_size: int | None = None
) -> Iterable[Batch]:
    """Return batches of the pictures in index rows, with labels as class ids of `split`.

    `batch_size` replaces `batch_size_of` these rows, where they are the share of a process.
    """
    dataset = eval_dataset(
        rows,
        root,
        data=config.data,
        label_set=split.label_set,
        short_side=config.evaluate.short_side,
        keep_ratio=config.evaluate.keep_ratio,
    )
    batch_size = batch_size or batch_size_of(rows, config)
    return batches(dataset, batch_size=batch_size, workers=loading_workers(config.train.workers))


def target_split(target: ClassSplit, manifest: CheckpointManifest, *, seen: TargetSeen) -> ClassSplit:
    """Return the class split of a target data set for a checkpoint of another data set.

    With `seen="all"` every class counts as seen, as published. With "names" a class counts as seen only if the
    checkpoint has a seen class of exactly this name: "tvmonitor" is not "tv".

    Raises:
        UserError: with "names", the checkpoint saw no class of the target.
    """
    split_name = f"{target.name} from {manifest.config.data.protocol}"
    if seen == "all":
        return replace(target, name=split_name, unseen_names=())
    seen_names = set(manifest.classes) - set(manifest.unseen)
    unseen = tuple(name for name in target.classes if name not in seen_names)
    if len(unseen) == target.num_classes:
        raise UserError(
            f"target {target.name!r} shares no class name with the {len(seen_names)} seen classes of the checkpoint "
            f"({manifest.config.data.protocol!r}); count all its classes as seen, or give a target or a checkpoint "
            "with common names"
        )
    return replace(target, name=split_name, unseen_names=unseen)
