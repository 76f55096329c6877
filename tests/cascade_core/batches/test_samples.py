"""Samples and batches of an indexed data set."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data._utils.pin_memory import pin_memory

from cascade_core.batches.samples import (
    Sample,
    SegmentationDataset,
    collate,
    eval_dataset,
    pack,
    train_dataset,
)
from cascade_core.batches.sampling import iteration_batches
from cascade_core.batches.transforms import TrainTransform
from cascade_core.configs.config import DataConfig
from cascade_core.data.index import index_voc
from cascade_core.labels.label_set import LabelSet

DATA = DataConfig(protocol="voc12-15-5", crop_size=24)


@pytest.fixture
def rows(voc: Path, animals: LabelSet) -> pd.DataFrame:
    return index_voc(voc, label_set=animals, image_sets={"train": "train+aug"})


def dataset(rows: pd.DataFrame, voc: Path, animals: LabelSet, seed: int = 0) -> SegmentationDataset:
    return SegmentationDataset(rows, voc, label_set=animals, transform=TrainTransform(DATA), seed=seed)


def test_a_sample_is_decided_by_picture_draw_and_seed(
    rows: pd.DataFrame, voc: Path, animals: LabelSet
) -> None:
    first, again = (dataset(rows, voc, animals)[1, 7] for _ in range(2))
    other_draw, other_seed = dataset(rows, voc, animals)[1, 8], dataset(rows, voc, animals, seed=1)[1, 7]
    assert torch.equal(first.image, again.image) and torch.equal(first.label, again.label)
    assert not torch.equal(first.image, other_draw.image)
    assert not torch.equal(first.image, other_seed.image)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_do_not_depend_on_workers(
    workers: int, rows: pd.DataFrame, voc: Path, animals: LabelSet
) -> None:
    samples = dataset(rows, voc, animals)
    sampler = list(iteration_batches(len(samples), 2, iterations=3, seed=5))
    stack = partial(pack, mean=DATA.mean, std=DATA.std)
    loader = DataLoader(samples, batch_sampler=sampler, collate_fn=stack, num_workers=workers)
    for batch, draws in zip(loader, sampler, strict=True):
        assert batch.names == tuple(rows["name"][index] for index, _ in draws)
        expected = stack([samples[draw] for draw in draws])
        assert torch.equal(batch.levels, expected.levels) and torch.equal(batch.labels, expected.labels)


def test_training_batches_have_the_crops_size(rows: pd.DataFrame, voc: Path) -> None:
    samples = train_dataset(rows, voc, data=DATA, seed=0)
    batch = pack([samples[0], samples[1, 1]], mean=DATA.mean, std=DATA.std).to(torch.device("cpu"))
    assert batch.images.shape == (2, 3, 24, 24) and batch.images.dtype == torch.float32
    assert batch.labels.shape == batch.padding.shape == (2, 24, 24) and batch.labels.dtype == torch.int64
    assert set(batch.labels.unique().tolist()) <= {0, 1, 255}


def test_the_device_normalises_and_pads_with_the_mean() -> None:
    levels = torch.randint(0, 256, (3, 3, 4, 4), dtype=torch.uint8)
    padding = torch.zeros(3, 4, 4, dtype=torch.bool)
    padding[1, 3:], padding[2, :, 1:] = True, True
    samples = [Sample(name=str(i), image=levels[i], label=levels[i, 0], padding=padding[i]) for i in range(3)]
    batch = pack(samples, mean=DATA.mean, std=DATA.std).to(torch.device("cpu"))
    expected = (levels - torch.tensor(DATA.mean)[:, None, None]) / torch.tensor(DATA.std)[:, None, None]
    torch.testing.assert_close(batch.images, torch.where(padding[:, None], 0.0, expected))
    assert torch.equal(batch.labels, levels[:, 0].long()) and torch.equal(batch.padding, padding)


@pytest.mark.parametrize("stack", [collate, partial(pack, mean=(0, 0, 0), std=(1, 1, 1))])
def test_a_loader_pins_every_tensor_of_a_batch(stack: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    planes, ids = torch.zeros(3, 2, 2, dtype=torch.uint8), torch.zeros(2, 2, dtype=torch.uint8)
    if stack is collate:
        planes, ids = planes.float(), ids.long()
    pinned = []
    monkeypatch.setattr(
        torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or torch.ones_like(tensor)
    )
    batch = pin_memory(stack([Sample("a", planes, ids, torch.zeros(2, 2, dtype=torch.bool))]))
    assert len(pinned) == 3 and hasattr(batch, "names")
    assert all(tensor.all() for tensor in batch if isinstance(tensor, torch.Tensor))


def test_evaluation_samples_keep_the_labels_size(rows: pd.DataFrame, voc: Path) -> None:
    sample = eval_dataset(rows, voc, data=DATA, short_side=48)[0]
    assert sample.image.shape == (3, 48, 64)
    assert sample.label.shape == (30, 40)


def test_label_maps_of_another_data_set_are_read_by_its_own_ids(rows: pd.DataFrame, voc: Path) -> None:
    swapped = LabelSet("swapped", ("dog", "cat"), (255, 1, 0, *[-1] * 252, 255))
    own = eval_dataset(rows, voc, data=DATA, short_side=None)[0].label
    theirs = eval_dataset(rows, voc, data=DATA, short_side=None, label_set=swapped)[0].label
    assert torch.equal(theirs, torch.where(own == 255, own, 1 - own))
    assert 255 in own and {0, 1} & set(own.unique().tolist())


def test_pictures_of_two_sizes_do_not_stack(rows: pd.DataFrame, voc: Path) -> None:
    Image.new("RGB", (50, 30)).save(voc / rows["image"][0])
    Image.new("L", (50, 30)).save(voc / rows["label"][0])
    samples = eval_dataset(rows, voc, data=DATA, short_side=None)
    with pytest.raises(
        ValueError, match=r"sizes \(30, 40\), \(30, 50\) do not stack; evaluate with batch_size=1"
    ):
        collate([samples[0], samples[1]])


def test_a_picture_resized_after_indexing_is_named(rows: pd.DataFrame, voc: Path) -> None:
    Image.new("RGB", (50, 30)).save(voc / rows["image"][0])
    with pytest.raises(ValueError, match=r"2007_000001.png: size \(30, 40\) differs from \(30, 50\)"):
        _ = train_dataset(rows, voc, data=DATA, seed=0)[0]


def test_an_index_without_rows_or_columns_is_refused(rows: pd.DataFrame, voc: Path) -> None:
    with pytest.raises(ValueError, match="index has no rows"):
        eval_dataset(rows[rows["split"] == "test"], voc, data=DATA, short_side=None)
    with pytest.raises(ValueError, match=r"index lacks columns \['label'\]"):
        eval_dataset(rows.drop(columns="label"), voc, data=DATA, short_side=None)


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/passwd", "a/../../b", "", "a\\b"])
def test_paths_of_an_index_cannot_leave_the_root(path: str, rows: pd.DataFrame, voc: Path) -> None:
    rows.loc[0, "image"] = path
    with pytest.raises(ValueError, match="leaves the data root"):
        eval_dataset(rows, voc, data=DATA, short_side=None)


def test_a_file_that_vanished_after_indexing_is_named(rows: pd.DataFrame, voc: Path) -> None:
    (voc / rows["image"][0]).unlink()
    with pytest.raises(ValueError, match=r"2007_000001.jpg: cannot be read"):
        _ = train_dataset(rows, voc, data=DATA, seed=0)[0]


def test_label_ids_of_another_label_set_are_refused_on_access(rows: pd.DataFrame, voc: Path) -> None:
    other = LabelSet("one", ("cat",), (255, 0, *[-1] * 253, 255))
    samples = SegmentationDataset(rows, voc, label_set=other, transform=TrainTransform(DATA))
    with pytest.raises(ValueError, match=r"2007_000001.png: label ids \[2\] are not in label set 'one'"):
        _ = samples[0]
