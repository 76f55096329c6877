"""Data sets of the user's own: counts, reports of bad files, and the steps that follow."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cascade_core.data.pictures import read_label_map
from cascade_core.data.prepared import data_root, read_index
from cascade_core.labels.label_file import read_label_file
from cascade_core.runtime.files import read_json
from components.artifacts.manifest import data_hash
from components.steps import prepare_custom

LABELS = """
name: pets
classes:
  - cat
  - {name: dog, synonyms: [puppy], colour: "#ff8000"}
  - fish
unseen: [fish]
background: {id: 0}
"""
MAPS: dict[str, list[list[int]]] = {
    "train/a": [[0, 1, 1], [0, 1, 1]],
    "train/b": [[1, 2, 2], [255, 2, 2]],
    "train/c": [[2, 2, 2], [2, 2, 2]],
    "val/d": [[0, 0, 3], [1, 1, 3]],
}


def save_picture(path: Path, shade: int, size: tuple[int, int] = (3, 2)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 0, 0)).save(path)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Give a folder with labels.yaml, images/ and maps/, one picture a colour."""
    (tmp_path / "labels.yaml").write_text(LABELS)
    for shade, (name, ids) in enumerate(MAPS.items()):
        save_picture(tmp_path / "images" / f"{name}.png", shade)
        save_map(tmp_path, name, ids)
    return tmp_path


def save_map(pets: Path, name: str, ids: list[list[int]]) -> None:
    path = pets / "maps" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(ids, dtype=np.uint8)).save(path)


def prepared(pets: Path, *, leave_out: bool = False, **source: Any) -> prepare_custom.CustomPrepared:
    arguments = {
        "images": pets / "images",
        **({"maps": pets / "maps"} if "annotations" not in source else {}),
        **source,
    }
    return prepare_custom.run(labels=pets / "labels.yaml", **arguments, out=pets / "out", leave_out=leave_out)


def test_every_class_is_counted_by_pictures_and_pixels(pets: Path) -> None:
    done = prepared(pets)
    train, val = done.summary["splits"]["train"], done.summary["splits"]["val"]
    assert (train["pictures"], val["pictures"]) == (3, 1)
    assert train["pictures_with_class"] == {"cat": 2, "dog": 2, "fish": 0}
    assert train["pixels"] == {"cat": 5, "dog": 10, "fish": 0}
    assert train["other_pixels"] == {"background": 2, "ignored": 1}
    assert val["pixels"] == {"cat": 2, "dog": 0, "fish": 2}
    assert done.summary["empty_classes"] == {"train": ["fish"], "val": ["dog"]}
    assert done.left_out == () and read_json(pets / "out" / "summary.json") == done.summary


def test_background_is_counted_only_if_the_label_file_has_it(pets: Path) -> None:
    (pets / "labels.yaml").write_text(LABELS.replace("background: {id: 0}\n", ""))
    for name in MAPS:
        save_map(pets, name, [[0, 1, 2], [0, 1, 2]])
    assert prepared(pets).summary["splits"]["train"]["other_pixels"] == {"ignored": 0}


def test_paths_in_the_index_start_at_the_common_folder(pets: Path) -> None:
    index, root = read_index(prepared(pets).index.parent), data_root(pets / "out")
    assert index["name"].tolist() == ["train_a", "train_b", "train_c", "val_d"]
    assert [list(classes) for classes in index["classes"]] == [[0], [0, 1], [1], [0, 2]]
    assert all((root / path).is_file() for path in (*index["image"], *index["label"]))
    assert data_hash(pets / "out") == read_json(pets / "out" / "summary.json")["data_sha256"]


def test_lists_and_folders_may_say_what_is_in_a_split(pets: Path) -> None:
    (pets / "train.txt").write_text("train/a.png\ntrain/c\n")
    done = prepared(pets, splits={"train": str(pets / "train.txt"), "test": "val"})
    index = read_index(done.index.parent)
    assert index.groupby("split")["name"].apply(list).to_dict() == {
        "train": ["train_a", "train_c"],
        "test": ["val_d"],
    }


def test_held_out_pictures_make_a_split(pets: Path) -> None:
    done = prepared(pets, held_out={"val": 0.25, "test": 0.25})
    counts = {split: counted["pictures"] for split, counted in done.summary["splits"].items()}
    assert counts == {"train": 2, "val": 1, "test": 1}


def spoil(pets: Path) -> None:
    """Put in one picture of each kind of problem."""
    save_map(pets, "train/a", [[0, 9, 9], [7, 1, 1]])
    save_map(pets, "train/b", [[1, 2]])
    (pets / "images/train/e.png").write_bytes(b"no picture")
    save_map(pets, "train/e", [[1]])
    save_picture(pets / "images/train/f.png", 60)
    save_picture(pets / "images/train/g.png", 3)
    save_map(pets, "train/g", MAPS["val/d"])


PROBLEMS = {
    "ids": r"maps/train/a\.png: label ids 7 \(1 pixels\), 9 \(2 pixels\) are not in label set .* 0\.\.3, 255; mend",
    "size": r"maps/train/b\.png: size 2x1 differs from 3x2 of images/train/b\.png",
    "unreadable": r"images/train/e\.png: cannot be decoded as a picture",
    "missing": r"maps/train/f\.png: cannot be read \(No such file",
    "duplicate": r"images/train/g\.png of split 'train' is the same picture as images/val/d\.png of 'val'",
}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_all_problems_are_told_at_once_and_nothing_is_written(pets: Path, kind: str) -> None:
    spoil(pets)
    with pytest.raises(ValueError, match=PROBLEMS[kind]) as raised:
        prepared(pets)
    assert all(f"1 {other}" in str(raised.value) for other in PROBLEMS)
    assert not (pets / "out").exists()


def test_bad_pictures_are_left_out_when_asked_to(pets: Path) -> None:
    spoil(pets)
    done = prepared(pets, leave_out=True)
    assert read_index(done.index.parent)["name"].tolist() == ["train_c", "val_d"]
    assert {one["kind"] for one in done.summary["left_out"]} == set(PROBLEMS)
    assert len(done.left_out) == len(PROBLEMS)


def test_of_pictures_that_would_be_named_alike_one_is_left_out(pets: Path) -> None:
    save_picture(pets / "images/train/x/b.png", 70)
    save_map(pets, "train/x/b", MAPS["train/b"])
    save_picture(pets / "images/train/x_b.png", 80)
    save_map(pets, "train/x_b", MAPS["train/b"])
    done = prepared(pets, leave_out=True)
    assert [one.text for one in done.left_out] == [
        "images/train/x_b.png: named train_x_b, as images/train/x/b.png is; rename one of them"
    ]
    index = read_index(done.index.parent)
    assert index.loc[index["name"] == "train_x_b", "image"].tolist() == ["images/train/x/b.png"]
    assert len(index) == len(MAPS) + 1


def test_a_split_that_is_left_without_pictures_is_refused(pets: Path) -> None:
    save_map(pets, "val/d", [[9]])
    with pytest.raises(ValueError, match="split 'val' has no picture left; .* 1 size"):
        prepared(pets, leave_out=True)


def test_copies_within_a_split_are_counted(pets: Path) -> None:
    save_picture(pets / "images/train/h.png", 0)
    save_map(pets, "train/h", MAPS["train/a"])
    assert prepared(pets).summary["copies_within_splits"] == {"train": 1, "val": 0}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"images": Path("nowhere")}, "picture folder .*nowhere does not exist"),
        ({"maps": Path("nowhere")}, "label map folder nowhere does not exist"),
        ({"maps": None}, "give exactly one of them"),
        (
            {"splits": {"train": "trian"}},
            "split train='trian' is neither a file .* folders there: train, val",
        ),
        ({"splits": {"train": "train", "val": "train"}}, "picture train/a is in splits 'train' and 'val'"),
        ({"splits": {"val": "val"}, "held_out": {"val": 0.5}}, "split 'val' is given and held out too"),
        ({"held_out": {"val": 0.01}}, "holding out val=0.01 of 4 pictures leaves a split empty"),
        ({"held_out": {"val": 0.5, "test": 0.5}}, "leaves no picture to train on"),
    ],
)
def test_impossible_splits_are_refused(pets: Path, source: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepared(pets, **source)


def test_a_list_that_names_no_picture_is_told(pets: Path) -> None:
    (pets / "val.txt").write_text("val/z\n")
    with pytest.raises(ValueError, match=r"val\.txt names val/z; names are"):
        prepared(pets, splits={"val": str(pets / "val.txt")})


def test_pictures_without_folders_want_to_be_told_their_splits(pets: Path) -> None:
    save_picture(pets / "images/z.png", 9)
    with pytest.raises(ValueError, match="picture 'z' lies in no folder named after a split"):
        prepared(pets)


def instances(pets: Path, **changes: Any) -> Path:
    """Write annotations of the pictures: a puppy on the right of each, a cat below of the first."""
    images = [{"id": i, "file_name": f"{name}.png", "width": 3, "height": 2} for i, name in enumerate(MAPS)]
    box = [2, 0, 3, 0, 3, 2, 2, 2]
    annotations = [
        {"id": i, "image_id": i, "category_id": 5, "segmentation": [box]} for i in range(len(MAPS))
    ]
    annotations.append(
        {"id": 9, "image_id": 0, "category_id": 6, "segmentation": {"size": [2, 3], "counts": [1, 1, 4]}}
    )
    categories = [{"id": 5, "name": "Puppy"}, {"id": 6, "name": "cat"}, {"id": 7, "name": "boat"}]
    content = {"images": images, "annotations": annotations, "categories": categories, **changes}
    path = pets / "instances.json"
    path.write_text(json.dumps(content))
    return path


def test_coco_objects_become_label_maps(pets: Path) -> None:
    done = prepared(pets, annotations={"": instances(pets)}, held_out={"val": 0.25})
    index, root = read_index(done.index.parent), data_root(pets / "out")
    label = index.loc[index["name"] == "train_a", "label"].item()
    own = read_label_file(pets / "labels.yaml").label_set()
    assert read_label_map(root / label, own).tolist() == [[255, 255, 1], [0, 255, 1]]
    with Image.open(root / label) as label_map:
        assert label_map.mode == "P" and label_map.getpalette()[6:9] == [0xFF, 0x80, 0]
    assert sum(split["pixels"]["dog"] for split in done.summary["splits"].values()) == 8


def test_a_coco_file_may_be_of_one_split(pets: Path) -> None:
    both = instances(pets)
    done = prepared(pets, annotations={"train": both})
    assert {split: counts["pictures"] for split, counts in done.summary["splits"].items()} == {"train": 4}
    with pytest.raises(ValueError, match="every file of objects has a split already"):
        prepared(pets, annotations={"train": both}, held_out={"val": 0.5})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": [{"id": 5, "name": "dog"}, {"id": 6, "name": "cow"}]}, "categories cow are not in the label"),
        ({"categories": []}, r"annotations are of categories \[5, 6\], which it does not name"),
        ({"images": []}, r"annotations \[0, 1, 2, 3, 9\] are of pictures it does not list"),
        ({"images": [{"id": i, "file_name": "a.png", "width": 3, "height": 2} for i in range(4)]}, "the file 'a.png' stands for both"),
        (
            {"annotations": [{"id": 4, "image_id": 1, "category_id": 5, "segmentation": []}]},
            r"1 polygons.*\n.*train/b\.png: annotation 4: it has no polygon",
        ),
    ],
)  # fmt: skip
def test_wrong_annotations_are_refused(pets: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepared(pets, annotations={"": instances(pets, **changes)})


def test_pixels_of_other_categories_are_ignored_when_asked_to(pets: Path) -> None:
    categories = [{"id": 5, "name": "dog"}, {"id": 6, "name": "cow"}]
    done = prepared(pets, annotations={"": instances(pets, categories=categories)}, other_categories=True)
    assert done.summary["splits"]["train"]["other_pixels"]["ignored"] == 1


def test_polygons_need_a_label_file_with_an_id_for_the_rest(pets: Path) -> None:
    (pets / "labels.yaml").write_text("name: pets\nclasses: [cat, dog]\nignore_id: null\n")
    with pytest.raises(ValueError, match="pixels of no object need an id"):
        prepared(pets, annotations={"": instances(pets)})


COLOURED = """
name: pets
classes:
  - {name: cat, map_colours: ["#800000", [128, 0, 64]]}
  - {name: dog, synonyms: [puppy], map_colours: [green]}
  - {name: fish, map_colours: ["#000080"]}
unseen: [fish]
background: {id: 0, map_colours: [black]}
ignore_colours: [white]
"""
COLOURS = {0: "#000000", 1: "#800000", 2: "#008000", 3: "#000080", 255: "#ffffff"}


def colour_maps(pets: Path, colours: dict[int, str] = COLOURS) -> None:
    """Save the maps in colours, as many data sets are published."""
    (pets / "labels.yaml").write_text(COLOURED)
    for name, ids in MAPS.items():
        levels = [[list(bytes.fromhex(colours[raw][1:])) for raw in row] for row in ids]
        Image.fromarray(np.array(levels, np.uint8)).save(pets / "maps" / f"{name}.png")


def test_maps_in_colours_become_maps_of_ids(pets: Path) -> None:
    plain = prepared(pets).summary
    colour_maps(pets, COLOURS | {1: "#800040"})
    done = prepare_custom.run(
        labels=pets / "labels.yaml", images=pets / "images", maps=pets / "maps", out=pets / "colours"
    )
    assert done.summary == {**plain, "data_sha256": done.summary["data_sha256"]}
    label_set, root = read_label_file(pets / "labels.yaml").label_set(), data_root(pets / "colours")
    for row in read_index(pets / "colours").itertuples():
        ids = read_label_map(root / row.label, label_set)
        expected = np.array(MAPS[f"{row.split}/{row.name[-1]}"])
        assert np.array_equal(ids, np.array(label_set.table)[expected])


def test_a_colour_that_the_label_file_lacks_is_named(pets: Path) -> None:
    colour_maps(pets, COLOURS | {3: "#010203"})
    with pytest.raises(
        ValueError, match=r"1 ids; .*\n.*val/d.png: colours '#010203' \(2 pixels\) are not in the label file"
    ):
        prepared(pets)
    assert not (pets / "out").exists()
    colour_maps(pets)
    (pets / "labels.yaml").write_text(LABELS)
    with pytest.raises(ValueError, match="state the colours of your classes in a label file"):
        prepared(pets)
    (pets / "labels.yaml").write_text(COLOURED)
    save_map(pets, "train/a", MAPS["train/a"])
    with pytest.raises(ValueError, match="remove its map_colours if the maps hold ids"):
        prepared(pets)
