"""Folders of users: links, several formats, Unicode's forms, label maps beside pictures, and a log of skipped files."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cascade_core.data.index import index_voc
from cascade_core.errors import UserError
from cascade_core.labels.label_set import LabelSet, reduce_zero_table
from components.inputs.labels_given import labels_given
from components.pictures.picture_files import picture_files
from components.steps import prepare_custom
from components.storage.transfer import _files_below
from components.vectors.vector_files import read_names, read_vectors

LABELS = "name: pets\nclasses: [cat, dog]\nbackground: {id: 0}\n"


def save(path: Path, *, map_of: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = 37 * sum(path.stem.encode()) % 256
    Image.new("L" if map_of else "RGB", (4, 3), 1 if map_of else (shade, 9, 9)).save(path)
    return path


def prepared(folder: Path, **given: Any) -> list[int]:
    """Prepare a data set, and return the number of pictures in each split."""
    (folder / "labels.yaml").write_text(LABELS)
    places = {"images": folder / "images", "maps": folder / "maps"}
    splits = {} if "splits" in given else {"held_out": {"val": 0.34}}
    done = prepare_custom.run(labels=folder / "labels.yaml", out=folder / "out", **places | splits | given)
    return [split["pictures"] for split in done.summary["splits"].values()]


def test_pictures_of_every_format_and_behind_links_count(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.webp", "c.bmp", "d.TIF", "e.JPG"):
        save(tmp_path / "elsewhere" / name)
        save(tmp_path / "maps" / "in" / f"{name[0]}.png", map_of=True)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "in").symlink_to(tmp_path / "elsewhere")
    assert sum(prepared(tmp_path)) == 5
    assert len(picture_files([tmp_path / "images"], out=tmp_path / "out")) == 5
    assert len(_files_below(tmp_path / "images")) == 5


def test_a_link_without_end_or_to_nothing_is_named(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.jpg")
    (tmp_path / "images" / "round").symlink_to(tmp_path / "images")
    with pytest.raises(UserError, match="round is a link to a folder that holds it"):
        picture_files([tmp_path / "images"], out=tmp_path / "out")
    (tmp_path / "images" / "round").unlink()
    (tmp_path / "images" / "b.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(UserError, match=r"b\.jpg is a link to nothing"):
        picture_files([tmp_path / "images"], out=tmp_path / "out")
    with pytest.raises(UserError, match=r"b\.jpg is no file, or a link that leads nowhere"):
        _files_below(tmp_path / "images")


def test_maps_may_lie_beside_their_pictures(tmp_path: Path) -> None:
    for name in "abc":
        save(tmp_path / "both" / f"{name}.jpg")
        save(tmp_path / "both" / f"{name}.PNG", map_of=True)
    assert prepared(tmp_path, images=tmp_path / "both", maps=tmp_path / "both") == [2, 1]


def test_skipped_files_are_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in "abcd":
        save(tmp_path / "images" / f"{name}.jpg")
        save(tmp_path / "maps" / f"{name}.png", map_of=True)
    save(tmp_path / "maps" / "more.png", map_of=True)
    (tmp_path / "images" / "notes.docx").write_text("")
    (tmp_path / "train.txt").write_text("a.jpg\nb\nc.JPG\n")
    prepared(tmp_path, splits={"train": str(tmp_path / "train.txt")})
    for words in (
        "1 files are skipped, because they are no pictures: notes.docx",
        "in no split: d",
        "label map: more.png",
    ):
        assert words in caplog.text


def test_names_in_two_forms_of_unicode_are_one(tmp_path: Path) -> None:
    for number in range(3):
        name = f"caf\u00e9{number}"
        save(tmp_path / "images" / f"{unicodedata.normalize('NFC', name)}.jpg")
        save(tmp_path / "maps" / f"{unicodedata.normalize('NFD', name)}.png", map_of=True)
    assert prepared(tmp_path) == [2, 1]


def test_lists_of_voc_may_name_suffixes_in_any_case(tmp_path: Path) -> None:
    for name in ("a.JPG", "b.webp"):
        save(tmp_path / "JPEGImages" / name)
        save(tmp_path / "SegmentationClass" / f"{name[0]}.PNG", map_of=True)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\ufeffa.jpg\r\nb\n", encoding="utf-8")
    labels = LabelSet("pets", ("cat", "dog"), reduce_zero_table(2))
    rows = index_voc(tmp_path, label_set=labels, image_sets={"train": "train"})
    assert rows["image"].tolist() == ["JPEGImages/a.JPG", "JPEGImages/b.webp"]


def coco(**changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 4, "height": 3} for i in range(3)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "segmentation": [[0, 0, 2, 0, 2, 2]]} for i in range(3)
        ],
    }
    for key, value in changes.items():
        part, number, field = key.split("__")
        content[part][int(number)][field] = value
    return content


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images__2__id": 0}, "picture id 0 stands for both 0.jpg and 2.jpg"),
        ({"annotations__2__id": 0}, "annotation id 0 stands for both an object of picture 0 and an object of picture 2"),
        ({"categories__1__id": 1}, "category id 1 stands for both cat and dog"),
        ({"categories__1__name": "Cat "}, "the name 'cat' stands for both category 1 and category 2"),
        ({"images__2__file_name": "0.JPG"}, "the file '0.jpg' stands for both picture 0 and picture 2"),
        ({"images__2__file_name": "0.png"}, "the label map '0' stands for both 0.jpg and 0.png; rename one"),
        ({"images__2__file_name": "a\\2.jpg"}, "backslashes separate folders on Windows only"),
        ({"images__2__width": 60_000, "images__2__height": 60_000}, "1 size.*is 4x3, its file of objects says 60000x60000"),
    ],
)  # fmt: skip
def test_what_a_coco_file_states_wrongly_is_named(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    for number in range(3):
        save(tmp_path / "images" / f"{number}.jpg")
    (tmp_path / "i.json").write_text(json.dumps(coco(**changes)), encoding="utf-8-sig")
    with pytest.raises(UserError, match=f"(?s){words}"):
        prepared(tmp_path, maps=None, annotations={"": tmp_path / "i.json"})


def test_a_label_file_gives_its_class_names(tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text(LABELS)
    assert labels_given(None, tmp_path / "labels.yaml") == ("cat", "dog")
    with pytest.raises(UserError, match=r"labels\.yaml is a label file; give it as --protocol"):
        read_names(tmp_path / "labels.yaml")


def test_vectors_that_state_terabytes_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (2, 2**40)}
        )
    with pytest.raises(UserError, match=r"a\.npy cannot be read as \.npy: mmap length is greater"):
        read_vectors(tmp_path / "a.npy", ["a", "b"])
