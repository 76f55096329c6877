"""The pictures of a training: the labelled ones, and in self-training also pictures without label maps."""

import pandas as pd

from cascade_core.batches.samples import (
    MixedDataset,
    SegmentationDataset,
    TeacherLabels,
    WithUnlabelled,
    train_dataset,
)
from cascade_core.configs.config import RunConfig
from cascade_core.configs.settings import TrainedSetting, is_self_training
from cascade_core.data.prepared import rows_of_split
from components.inputs.reading import Inputs


def training_pictures(
    inputs: Inputs, config: RunConfig, setting: TrainedSetting, teacher_labels: TeacherLabels | None
) -> SegmentationDataset | MixedDataset | WithUnlabelled:
    """Return the pictures of the split `train`, then those that a teacher labelled, then those of the extra splits.

    Raises:
        UserError: a split has no pictures, or a path leaves the folder of the data.
    """
    index, root, splits = inputs.index, inputs.root, config.self_train.extra_splits
    training = train_dataset(rows_of_split(index, "train"), root, data=config.data, seed=config.seed)
    pictures = training if teacher_labels is None else MixedDataset(training, teacher_labels)
    if not splits or not is_self_training(setting):
        return pictures
    return WithUnlabelled(pictures, pd.concat([rows_of_split(index, split) for split in splits]), root)
