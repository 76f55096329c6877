"""The index of a data set: its rows, and an error that names each kind of bad file."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cascade_core.data.index import index_folders, index_voc, voc_root
from cascade_core.data.layouts import FolderLayout
from cascade_core.datasets.catalogue import label_set
from cascade_core.labels.label_set import LabelSet

IMAGE_SETS = {"train": "train+aug", "val": "val"}
FIRST = "2007_000001"


def index(root: Path, animals: LabelSet) -> pd.DataFrame:
    return index_voc(root, label_set=animals, image_sets=IMAGE_SETS)


def test_lists_joined_by_a_plus_make_one_split_in_their_order(voc: Path, animals: LabelSet) -> None:
    rows = index(voc, animals)
    assert rows["name"].tolist() == [
        "2007_000001",
        "2007_000002",
        "2007_000003",
        "2008_000001",
        "2009_000001",
    ]
    assert rows["split"].tolist() == ["train"] * 4 + ["val"]


def test_the_second_folder_serves_label_maps_the_first_lacks(voc: Path, animals: LabelSet) -> None:
    rows = index(voc, animals).set_index("name")
    assert rows.loc["2008_000001", "label"] == "SegmentationClassAug/2008_000001.png"


def test_a_row_has_the_size_classes_and_hashes_of_its_files(voc: Path, animals: LabelSet) -> None:
    row = index(voc, animals).iloc[0]
    assert (row["width"], row["height"], row["classes"]) == (40, 30, [0, 1])
    assert row["image"] == f"JPEGImages/{FIRST}.jpg"
    assert row["image_sha256"] == hashlib.sha256((voc / row["image"]).read_bytes()).hexdigest()
    assert row["label_sha256"] == hashlib.sha256((voc / row["label"]).read_bytes()).hexdigest()


def test_the_index_survives_parquet(voc: Path, animals: LabelSet, tmp_path: Path) -> None:
    rows = index(voc, animals)
    rows.to_parquet(tmp_path / "index.parquet")
    again = pd.read_parquet(tmp_path / "index.parquet")
    again["classes"] = again["classes"].map(list)
    pd.testing.assert_frame_equal(rows, again)


def test_progress_counts_every_picture_once(voc: Path, animals: LabelSet) -> None:
    steps: list[tuple[int, int]] = []
    index_voc(voc, label_set=animals, image_sets=IMAGE_SETS, progress=lambda *step: steps.append(step))
    assert steps == [(i, 5) for i in range(1, 6)]


def test_a_rotated_photograph_is_measured_upright(voc: Path, animals: LabelSet) -> None:
    path = voc / "JPEGImages" / f"{FIRST}.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn: stored as 30 x 40, viewed as 40 x 30
    with Image.open(path) as picture:
        picture.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    assert index(voc, animals).iloc[0][["width", "height"]].tolist() == [40, 30]


def test_a_label_map_without_the_exif_rotation_gets_a_remedy(voc: Path, animals: LabelSet) -> None:
    path = voc / "JPEGImages" / f"{FIRST}.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(path) as picture:
        picture.save(path, exif=exif)
    with pytest.raises(ValueError, match=r"40x30 differs from 30x40 .*EXIF orientation, .* turn the map"):
        index(voc, animals)


def without_label(voc: Path) -> None:
    (voc / "SegmentationClass" / f"{FIRST}.png").unlink()


def without_image(voc: Path) -> None:
    (voc / "JPEGImages" / f"{FIRST}.jpg").unlink()


def truncated(voc: Path) -> None:
    path = voc / "JPEGImages" / f"{FIRST}.jpg"
    path.write_bytes(path.read_bytes()[:-40])


def no_picture(voc: Path) -> None:
    (voc / "JPEGImages" / f"{FIRST}.jpg").write_text("404 not found")


def truncated_label(voc: Path) -> None:
    path = voc / "SegmentationClass" / f"{FIRST}.png"
    path.write_bytes(path.read_bytes()[:-40])


def foreign_ids(voc: Path) -> None:
    path = voc / "SegmentationClass" / f"{FIRST}.png"
    ids = np.array(Image.open(path))
    ids[0, :2] = [4, 77]
    Image.fromarray(ids).save(path)


def coloured_labels(voc: Path) -> None:
    path = voc / "SegmentationClass" / f"{FIRST}.png"
    Image.open(path).convert("RGB").save(path)


def other_size(voc: Path) -> None:
    path = voc / "SegmentationClass" / f"{FIRST}.png"
    Image.open(path).crop((0, 0, 40, 29)).save(path)


def empty_split(voc: Path) -> None:
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_text("\n \n")


def without_list(voc: Path) -> None:
    (voc / "ImageSets" / "Segmentation" / "val.txt").unlink()


def listed_in_two_splits(voc: Path) -> None:
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_text(f"{FIRST}\n")


def climbing_name(voc: Path) -> None:
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_text("../../secret\n2009_000001\n")


def absolute_name(voc: Path) -> None:
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_text("/etc/passwd\n2009_000001\n")


def name_with_flag(voc: Path) -> None:
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_text("2009_000001 -1\n")


def binary_list(voc: Path) -> None:
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_bytes(b"\xff\xfe\x80")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (without_label, f"{FIRST} of split 'train': label map is missing.*SegmentationClass/{FIRST}.png"),
        (without_image, f"JPEGImages/{FIRST}.jpg: picture of split 'train' is missing"),
        (truncated, f"JPEGImages/{FIRST}.jpg: cannot be decoded.*truncated"),
        (no_picture, f"JPEGImages/{FIRST}.jpg: cannot be decoded"),
        (truncated_label, f"SegmentationClass/{FIRST}.png: cannot be decoded as a label map"),
        (
            foreign_ids,
            rf"SegmentationClass/{FIRST}.png: label ids 4 \(1 pixels\), 77 \(1 pixels\).*'animals'.*0..3, 255",
        ),
        (coloured_labels, f"SegmentationClass/{FIRST}.png: a label map holds.*'RGB'"),
        (
            other_size,
            f"SegmentationClass/{FIRST}.png: size 40x29 differs from 40x30 of JPEGImages/{FIRST}.jpg",
        ),
        (empty_split, "ImageSets/Segmentation/val.txt: split 'val' is empty"),
        (without_list, "ImageSets/Segmentation/val.txt: image list is missing; lists at hand: aug, train"),
        (listed_in_two_splits, f"JPEGImages/{FIRST}.jpg: listed twice, in splits 'train' and 'val'"),
        (climbing_name, r"val.txt: no picture name in line 1 \('../../secret'\); expected one name"),
        (absolute_name, r"val.txt: no picture name in line 1 \('/etc/passwd'\); expected one name"),
        (name_with_flag, r"val.txt: no picture name in line 1 \('2009_000001 -1'\); expected one name"),
        (binary_list, "image list .*val.txt is not UTF-8 text"),
    ],
)
def test_bad_input_is_named_with_file_and_field(
    break_it: Callable[[Path], None], message: str, voc: Path, animals: LabelSet
) -> None:
    break_it(voc)
    with pytest.raises(ValueError, match=f"(?s)data set {re.escape(str(voc))}.*{message}"):
        index(voc, animals)


def test_one_error_lists_up_to_ten_problems(voc: Path, animals: LabelSet) -> None:
    truncated(voc)
    (voc / "SegmentationClass" / "2007_000002.png").unlink()
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_text("".join(f"absent{i}\n" for i in range(9)))
    with pytest.raises(ValueError, match="20 problems") as raised:
        index(voc, animals)
    assert str(raised.value).count("\n  - ") == 10
    assert str(raised.value).endswith("and 10 more")


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path, animals: LabelSet) -> None:
    with pytest.raises(ValueError, match="no folder JPEGImages"):
        index(tmp_path, animals)


def test_an_index_needs_a_split(voc: Path, animals: LabelSet) -> None:
    with pytest.raises(ValueError, match="image_sets is empty"):
        index_voc(voc, label_set=animals, image_sets={})


@pytest.mark.parametrize("levels_up", [0, 1, 2])
def test_the_root_is_found_from_the_folders_above_it(levels_up: int, voc: Path) -> None:
    assert voc_root([voc, *voc.parents][levels_up]) == voc


def test_a_root_that_is_absent_or_ambiguous_is_refused(voc: Path, tmp_path: Path) -> None:
    (tmp_path / "VOCdevkit" / "VOC2007" / "JPEGImages").mkdir(parents=True)
    with pytest.raises(ValueError, match="several data sets, .*VOC2007, .*VOC2012"):
        voc_root(tmp_path)
    with pytest.raises(ValueError, match="no folder JPEGImages"):
        voc_root(voc / "ImageSets")


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Two pictures in the layout of converted COCO-Stuff, holding train ids."""
    for name in ("000000000009", "000000000025"):
        image = tmp_path / "images" / "train2017" / f"{name}.jpg"
        label = tmp_path / "annotations" / "train2017" / f"{name}_labelTrainIds.png"
        for path in (image, label):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(image)
        Image.fromarray(np.array([[0, 170, 255, 19]] * 6, dtype=np.uint8).repeat(2, axis=1)).save(label)
    return tmp_path


COCO_FOLDERS = {"train": ("images/train2017", "annotations/train2017")}


def test_parallel_folders_are_paired_by_label_suffix(coco: Path) -> None:
    rows = index_folders(
        coco,
        label_set=label_set("cocostuff171"),
        folders=COCO_FOLDERS,
        layout=FolderLayout("_labelTrainIds.png"),
    )
    assert rows["classes"].tolist() == [[0, 19, 170]] * 2
    assert rows["label"][0] == "annotations/train2017/000000000009_labelTrainIds.png"


def test_parallel_folders_report_a_missing_map_and_empty_split(coco: Path) -> None:
    folders = {**COCO_FOLDERS, "val": ("images/val2017", "annotations/val2017")}
    with pytest.raises(ValueError, match=r"(?s)000000000009.jpg: no label map.*split 'val' is empty"):
        index_folders(coco, label_set=label_set("cocostuff171"), folders=folders)
