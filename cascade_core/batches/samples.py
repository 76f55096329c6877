"""Samples of an indexed data set: photograph and label map, transformed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from cascade_core.batches.resizing import ImageArray, LabelArray
from cascade_core.batches.sampling import Draw
from cascade_core.batches.transforms import (
    Channels,
    EvalTransform,
    Packed,
    TrainTransform,
    Transformed,
    normalise_levels,
)
from cascade_core.configs.config import DataConfig
from cascade_core.data.pictures import read_image, read_label_map
from cascade_core.errors import UserError
from cascade_core.labels.label_set import LabelSet
from cascade_core.runtime.files import inside

Transform = Callable[[ImageArray, LabelArray, np.random.Generator], Transformed | Packed]


@dataclass(frozen=True)
class Sample:
    """One picture, with train ids 0..C-1 and 255 as labels, and where it is padding.

    For training picture and labels are in 8 bits, for evaluation the picture is normalised.
    """

    name: str
    image: Float32[Tensor, "3 height width"] | UInt8[Tensor, "3 height width"]
    label: Int64[Tensor, "label_height label_width"] | UInt8[Tensor, "label_height label_width"]
    padding: Bool[Tensor, "height width"]


class Batch(NamedTuple):
    """Several samples of one size."""

    names: tuple[str, ...]
    images: Float32[Tensor, "batch 3 height width"]
    labels: Int64[Tensor, "batch label_height label_width"]
    padding: Bool[Tensor, "batch height width"]

    def to(self, device: torch.device) -> "Batch":
        """Give the batch on a device; from pinned memory the copies do not wait."""
        return Batch(tuple(self.names), *(part.to(device, non_blocking=True) for part in self[1:]))


class PackedBatch(NamedTuple):
    """Training samples in 8 bits, as loaders hand them over: a quarter of what has to be copied otherwise."""

    names: tuple[str, ...]
    levels: UInt8[Tensor, "batch 3 side side"]
    labels: UInt8[Tensor, "batch side side"]
    padding: Bool[Tensor, "batch side side"]
    mean: Channels
    std: Channels

    def to(self, device: torch.device) -> Batch:
        """Give the batch on a device, normalised there, with 0 (the mean) as padding."""
        levels, labels, padding = (
            part.to(device, non_blocking=True) for part in (self.levels, self.labels, self.padding)
        )
        images = normalise_levels(levels, self.mean, self.std)
        # Whose corner is picture has no padding; asked before the copy, so that nothing waits for the device.
        for index in self.padding[:, -1, -1].nonzero().flatten().tolist():
            images[index].masked_fill_(padding[index], 0)
        return Batch(names=tuple(self.names), images=images, labels=labels.long(), padding=padding)


class SegmentationDataset(Dataset[Sample]):
    """Read the pictures of an index (rows as of `index_voc`, of one split) below `root`.

    An item is asked for by its position, or by (position, draw): the draw's number and the seed decide the
    augmentation, so a sample is the same whichever worker makes it.

    Raises:
        UserError: the index has no rows or lacks columns, or a path leaves the root; on access, sizes
            that differ, and what `read_image` and `read_label_map` raise.
    """

    def __init__(
        self, index: pd.DataFrame, root: Path, *, label_set: LabelSet, transform: Transform, seed: int = 0
    ) -> None:
        missing = [column for column in ("name", "image", "label") if column not in index.columns]
        if missing:
            raise UserError(f"index lacks columns {missing}; make it again with the prepare step")
        if index.empty:
            raise UserError("index has no rows; check the name of the split, or prepare the data again")
        self.names: list[str] = index["name"].tolist()
        self.images = [inside(root, path) for path in index["image"]]
        self.labels = [inside(root, path) for path in index["label"]]
        self.label_set = label_set
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, key: int | Draw) -> Sample:
        position, draw = (key, 0) if isinstance(key, int) else key
        image = read_image(self.images[position])
        label = read_label_map(self.labels[position], self.label_set)
        if image.shape[:2] != label.shape:
            raise UserError(
                f"{self.labels[position]}: size {label.shape} differs from {image.shape[:2]} of "
                f"{self.images[position]}; the data changed since it was indexed, prepare it again"
            )
        rng = np.random.default_rng((self.seed, draw))
        picture, labels, padding = self.transform(image, label, rng)
        return Sample(name=self.names[position], image=picture, label=labels, padding=padding)


def train_dataset(index: pd.DataFrame, root: Path, *, data: DataConfig, seed: int) -> SegmentationDataset:
    """Give the rows of an index with the training augmentation of `data`."""
    label_set = data.split.label_set
    return SegmentationDataset(index, root, label_set=label_set, transform=TrainTransform(data), seed=seed)


def eval_dataset(
    index: pd.DataFrame,
    root: Path,
    *,
    data: DataConfig,
    short_side: int | None,
    label_set: LabelSet | None = None,
) -> SegmentationDataset:
    """Give the rows of an index resized for evaluation; labels keep their own size.

    `label_set` is that of the label maps where they are not of the data set that was trained on.
    """
    labels = data.split.label_set if label_set is None else label_set
    return SegmentationDataset(index, root, label_set=labels, transform=EvalTransform(data, short_side))


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one size.

    Raises:
        UserError: sizes differ, as they do when evaluating photographs: use batches of one there.
    """
    sizes = {(tuple(sample.image.shape[1:]), tuple(sample.label.shape)) for sample in samples}
    if len(sizes) > 1:
        listed = ", ".join(f"{image}" for image, _ in sorted(sizes))
        raise UserError(f"pictures of sizes {listed} do not stack; evaluate with batch_size=1")
    return Batch(
        names=tuple(sample.name for sample in samples),
        images=torch.stack([sample.image for sample in samples]),
        labels=torch.stack([sample.label for sample in samples]),
        padding=torch.stack([sample.padding for sample in samples]),
    )


def pack(samples: Sequence[Sample], *, mean: Channels, std: Channels) -> PackedBatch:
    """Stack training samples, to be normalised with `mean` and `std` on the device."""
    return PackedBatch(
        names=tuple(sample.name for sample in samples),
        levels=torch.stack([sample.image for sample in samples]),
        labels=torch.stack([sample.label for sample in samples]),
        padding=torch.stack([sample.padding for sample in samples]),
        mean=mean,
        std=std,
    )
