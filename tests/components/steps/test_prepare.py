"""The prepare step: what it writes, and that bad data change nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_core.data.index import COLUMNS
from cascade_core.data.prepared import read_index
from cascade_core.runtime.files import read_json, sha256
from components.artifacts.manifest import data_hash, read_step_manifest
from components.steps import prepare
from tests.components.conftest import IMAGE_SETS, SIZES

LISTS = "ImageSets/Segmentation"


def test_the_index_has_a_row_per_picture(prepared: Path) -> None:
    index = read_index(prepared)
    assert list(index.columns) == list(COLUMNS)
    assert index["split"].value_counts().to_dict() == SIZES
    summary = read_json(prepared / "summary.json")
    train = index[index["split"] == "train"]
    counts = summary["splits"]["train"]["pictures_with_class"]
    assert summary["splits"]["train"]["pictures"] == SIZES["train"]
    assert sum(counts.values()) == train["classes"].map(len).sum()
    assert len(counts) == 24


def test_the_data_hash_is_of_content_and_not_of_place(world: Path, prepared: Path, tmp_path: Path) -> None:
    moved = tmp_path / "deeper" / "raw"
    moved.parent.mkdir()
    world.rename(moved)
    again = prepare.run(raw=moved, protocol="mini-18-6", image_sets=IMAGE_SETS, out=tmp_path / "again")
    assert (
        again.data_hash == data_hash(prepared) == read_step_manifest(tmp_path / "again").inputs["raw"].sha256
    )
    assert sha256(tmp_path / "again" / "index.parquet") == sha256(prepared / "index.parquet")


def test_another_picture_is_another_data_hash(world: Path, prepared: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(world / "JPEGImages" / "val_0000.jpg")
    changed = prepare.run(raw=world, protocol="mini-18-6", image_sets=IMAGE_SETS, out=tmp_path / "changed")
    assert changed.data_hash != data_hash(prepared)


def test_the_folder_above_voc2012_does_as_well(world: Path, tmp_path: Path) -> None:
    result = prepare.run(
        raw=world.parents[1], protocol="mini-18-6", image_sets={"val": "val"}, out=tmp_path / "out"
    )
    assert result.pictures == {"val": SIZES["val"]}


def _truncate_picture(world: Path) -> None:
    path = world / "JPEGImages" / "train_0001.jpg"
    path.write_bytes(path.read_bytes()[:300])


def _remove_label_map(world: Path) -> None:
    (world / "SegmentationClass" / "train_0002.png").unlink()


def _put_stray_id(world: Path) -> None:
    ids = np.full((64, 64), 99, np.uint8)
    Image.fromarray(ids).save(world / "SegmentationClass" / "train_0003.png")


def _shrink_label_map(world: Path) -> None:
    Image.fromarray(np.ones((32, 64), np.uint8)).save(world / "SegmentationClass" / "train_0004.png")


def _empty_list(world: Path) -> None:
    (world / LISTS / "val.txt").write_text("")


def _remove_list(world: Path) -> None:
    (world / LISTS / "val.txt").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_truncate_picture, r"train_0001\.jpg"),
        (_remove_label_map, r"train_0002.*label map is missing"),
        (_put_stray_id, r"train_0003\.png: label ids 99 \(4096 pixels\)"),
        (_shrink_label_map, r"train_0004\.png: size 64x32 differs from 64x64"),
        (_empty_list, r"val\.txt: split 'val' is empty"),
        (_remove_list, r"val\.txt: image list is missing"),
    ],
)
def test_bad_data_are_named_and_an_earlier_index_stays(
    world: Path, prepared: Path, spoil: Callable[[Path], None], message: str
) -> None:
    before = sha256(prepared)
    spoil(world)
    with pytest.raises(ValueError, match=message):
        prepare.run(raw=world, protocol="mini-18-6", image_sets=IMAGE_SETS, out=prepared)
    assert sha256(prepared) == before
    assert sorted(path.name for path in prepared.parent.iterdir()) == ["mini", "prepared"]


@pytest.mark.parametrize(
    ("raw", "protocol", "image_sets", "message"),
    [
        ("nowhere", "mini-18-6", {"train": "train"}, "nowhere is not a folder"),
        (".", "mini-18-7", {"train": "train"}, "unknown protocol 'mini-18-7'; known are"),
        (".", "cocostuff-156-15", {"train": "train"}, "expected PICTURES:LABELS"),
    ],
)
def test_what_cannot_be_a_data_set_is_told(
    tmp_path: Path, raw: str, protocol: str, image_sets: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        prepare.run(raw=tmp_path / raw, protocol=protocol, image_sets=image_sets, out=tmp_path / "out")


def test_coco_stuff_is_read_from_parallel_folders(tmp_path: Path) -> None:
    for folder in ("images/val2017", "annotations/val2017"):
        (tmp_path / folder).mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "images/val2017/a.jpg")
    Image.fromarray(np.full((8, 8), 170, np.uint8)).save(tmp_path / "annotations/val2017/a_labelTrainIds.png")
    result = prepare.run(
        raw=tmp_path,
        protocol="cocostuff-156-15",
        image_sets={"val": "images/val2017:annotations/val2017"},
        out=tmp_path / "out",
    )
    assert result.pictures == {"val": 1}


def test_an_index_that_lacks_columns_is_refused(prepared: Path) -> None:
    read_index(prepared).drop(columns="width").to_parquet(prepared / "index.parquet")
    with pytest.raises(ValueError, match=r"index\.parquet lacks the columns \['width'\]"):
        read_index(prepared)
