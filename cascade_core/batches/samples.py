"""Samples and batches of an indexed data set: transformed pictures and label maps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
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
from cascade_core.labels.label_set import IGNORE, INVALID, LabelSet
from cascade_core.runtime.files import inside

if TYPE_CHECKING:
    import pandas as pd  # prediction needs this module, but no index

Transform = Callable[[ImageArray, LabelArray, np.random.Generator], Transformed | Packed]


@dataclass(frozen=True)
class Sample:
    """A picture with its labels (train ids 0..C-1, 255) and padding: 8-bit in training, normalised in evaluation."""

    name: str
    image: Float32[Tensor, "3 height width"] | UInt8[Tensor, "3 height width"]
    label: Int64[Tensor, "label_height label_width"] | UInt8[Tensor, "label_height label_width"]
    padding: Bool[Tensor, "height width"]
    by_teacher: bool = False
    """Whether a teacher made the labels; it labels pixels of every class."""
    unlabelled: bool = False
    """Whether the picture has no labels; then all are `IGNORE`."""


class Batch(NamedTuple):
    """Several samples of one size.

    `by_teacher` says of each whether a teacher labelled it, `unlabelled` whether it has no labels (empty: of none).
    """

    names: tuple[str, ...]
    images: Float32[Tensor, "batch 3 height width"]
    labels: Int64[Tensor, "batch label_height label_width"]
    padding: Bool[Tensor, "batch height width"]
    by_teacher: tuple[bool, ...] = ()
    unlabelled: tuple[bool, ...] = ()

    @property
    def unannotated(self) -> tuple[bool, ...]:
        """Say of each sample whether no annotator labelled it, so that its ignored pixels say nothing."""
        none = (False,) * len(self.names)
        return tuple(map(or_, self.by_teacher or none, self.unlabelled or none))

    def to(self, device: torch.device) -> "Batch":
        """Copy the batch to a device; copies from pinned memory are asynchronous."""
        images, labels, padding = (
            part.to(device, non_blocking=True) for part in (self.images, self.labels, self.padding)
        )
        return Batch(
            tuple(self.names), images, labels, padding, tuple(self.by_teacher), tuple(self.unlabelled)
        )


class PackedBatch(NamedTuple):
    """Training samples in 8 bits: loaders copy a quarter of the bytes of normalised samples."""

    names: tuple[str, ...]
    levels: UInt8[Tensor, "batch 3 side side"]
    labels: UInt8[Tensor, "batch side side"]
    padding: Bool[Tensor, "batch side side"]
    mean: Channels
    std: Channels
    by_teacher: tuple[bool, ...] = ()
    unlabelled: tuple[bool, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """Copy the batch to a device and normalise it there; padding becomes 0 (the mean)."""
        levels, labels, padding = (
            part.to(device, non_blocking=True) for part in (self.levels, self.labels, self.padding)
        )
        images = normalise_levels(levels, self.mean, self.std)
        # A sample whose bottom-right pixel is not padding has none. Checked on the CPU to avoid a device sync.
        for index in self.padding[:, -1, -1].nonzero().flatten().tolist():
            images[index].masked_fill_(padding[index], 0)
        return Batch(
            tuple(self.names), images, labels.long(), padding, tuple(self.by_teacher), tuple(self.unlabelled)
        )


class SegmentationDataset(Dataset[Sample]):
    """The pictures and label maps of an index (the rows of one split, see `index_voc`) below `root`.

    The key of an item is its position, or (position, draw): seed and draw decide the augmentation, whichever worker
    makes the sample.

    Raises:
        UserError: the index has no rows or lacks columns, or a path leaves the root; on access also if picture and
            label map differ in size, or `read_image` or `read_label_map` raises it.
    """

    def __init__(
        self, index: "pd.DataFrame", root: Path, *, label_set: LabelSet, transform: Transform, seed: int = 0
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
        return _sample(
            self.names[position],
            self.images[position],
            self.labels[position],
            self.label_set,
            transform=self.transform,
            rng=np.random.default_rng((self.seed, draw)),
        )


def _sample(
    name: str,
    image_file: Path,
    label_file: Path,
    label_set: LabelSet,
    *,
    transform: Transform,
    rng: np.random.Generator,
) -> Sample:
    image = read_image(image_file)
    label = read_label_map(label_file, label_set)
    if image.shape[:2] != label.shape:
        raise UserError(
            f"{label_file}: size {label.shape} differs from {image.shape[:2]} of {image_file}; "
            "the data changed after indexing, prepare it again"
        )
    picture, labels, padding = transform(image, label, rng)
    return Sample(name=name, image=picture, label=labels, padding=padding)


def train_dataset(index: "pd.DataFrame", root: Path, *, data: DataConfig, seed: int) -> SegmentationDataset:
    """Return the data set of an index with the training augmentation of `data`."""
    label_set = data.split.label_set
    return SegmentationDataset(index, root, label_set=label_set, transform=TrainTransform(data), seed=seed)


@dataclass(frozen=True)
class TeacherLabels:
    """Pictures below `root` and a teacher's label maps below `maps`; ids are train ids.

    Attributes:
        files: the relative paths of each picture and its map.
        sha256: the digest of all maps of the teacher.
    """

    root: Path
    maps: Path
    files: tuple[tuple[str, str], ...]
    sha256: str


class MixedDataset(Dataset[Sample]):
    """The labelled training pictures of an index, followed by pictures that a teacher labelled."""

    def __init__(self, labelled: SegmentationDataset, teacher_labels: TeacherLabels) -> None:
        label_set = labelled.label_set
        train_ids = tuple(
            raw if raw < len(label_set.classes) else IGNORE if raw == IGNORE else INVALID
            for raw in range(256)
        )
        self.labelled, self.teacher_labels = labelled, teacher_labels
        self.pictures = [inside(teacher_labels.root, picture) for picture, _ in teacher_labels.files]
        self.maps = [inside(teacher_labels.maps, file) for _, file in teacher_labels.files]
        self.label_set = replace(label_set, raw_to_train=train_ids, background_ids=())

    def __len__(self) -> int:
        return len(self.labelled) + len(self.pictures)

    def __getitem__(self, key: Draw) -> Sample:
        position, draw = key
        if position < len(self.labelled):
            return self.labelled[key]
        place = position - len(self.labelled)
        sample = _sample(
            self.teacher_labels.files[place][0],
            self.pictures[place],
            self.maps[place],
            self.label_set,
            transform=self.labelled.transform,
            rng=np.random.default_rng((self.labelled.seed, draw)),
        )
        return replace(sample, by_teacher=True)


class WithUnlabelled(Dataset[Sample]):
    """Training pictures, followed by the pictures of an index below `root`, whose label maps are never read."""

    def __init__(
        self, training: SegmentationDataset | MixedDataset, index: "pd.DataFrame", root: Path
    ) -> None:
        labelled = training.labelled if isinstance(training, MixedDataset) else training
        self.training, self.transform, self.seed = training, labelled.transform, labelled.seed
        self.names: list[str] = index["name"].tolist()
        self.images = [inside(root, path) for path in index["image"]]

    def __len__(self) -> int:
        return len(self.training) + len(self.images)

    def __getitem__(self, key: Draw) -> Sample:
        position, draw = key
        if position < len(self.training):
            return self.training[key]
        place = position - len(self.training)
        image = read_image(self.images[place])
        nothing = np.full(image.shape[:2], IGNORE, dtype=np.uint8)
        picture, labels, padding = self.transform(image, nothing, np.random.default_rng((self.seed, draw)))
        return Sample(self.names[place], picture, labels, padding, unlabelled=True)


def eval_dataset(
    index: "pd.DataFrame",
    root: Path,
    *,
    data: DataConfig,
    short_side: int | None,
    keep_ratio: bool = True,
    label_set: LabelSet | None = None,
) -> SegmentationDataset:
    """Return the data set of an index for evaluation; `label_set` defaults to that of the training data."""
    label_set = label_set or data.split.label_set
    transform = EvalTransform(data, short_side, keep_ratio)
    return SegmentationDataset(index, root, label_set=label_set, transform=transform)


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples of one size.

    Raises:
        UserError: the samples differ in size, as photographs do in evaluation.
    """
    sizes = {(tuple(sample.image.shape[1:]), tuple(sample.label.shape)) for sample in samples}
    if len(sizes) > 1:
        listed = ", ".join(f"{image}" for image, _ in sorted(sizes))
        raise UserError(f"pictures of sizes {listed} do not stack; evaluate with batch_size=1")
    return Batch(*_stack(samples))


def pack(samples: Sequence[Sample], *, mean: Channels, std: Channels) -> PackedBatch:
    """Stack 8-bit training samples; the device normalises them with `mean` and `std`."""
    return PackedBatch(
        *_stack(samples),
        mean=mean,
        std=std,
        by_teacher=tuple(sample.by_teacher for sample in samples),
        unlabelled=tuple(sample.unlabelled for sample in samples),
    )


def _stack(samples: Sequence[Sample]) -> tuple[tuple[str, ...], Tensor, Tensor, Tensor]:
    return (
        tuple(sample.name for sample in samples),
        torch.stack([sample.image for sample in samples]),
        torch.stack([sample.label for sample in samples]),
        torch.stack([sample.padding for sample in samples]),
    )
