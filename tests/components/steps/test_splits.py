"""The splits step: classes, pictures and training pixels, and that a changed file is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from cascade_core.data.pictures import read_label_map
from cascade_core.datasets.catalogue import protocol
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json, write_json
from components.inputs.split import read_split
from components.steps import prepare, splits
from tests.components.conftest import SIZES

MINI = protocol("mini-18-6")


@pytest.fixture
def written(prepared: Path, tmp_path: Path) -> Path:
    splits.run(prepared=prepared, protocol=MINI.name, out=tmp_path / "splits")
    return tmp_path / "splits"


def test_the_file_states_classes_and_the_pictures_of_each_split(written: Path) -> None:
    content = read_json(written / "split.json")
    assert content["seen"] == list(MINI.seen_names)
    assert content["unseen"] == list(MINI.unseen_names)
    assert {name: len(pictures) for name, pictures in content["splits"].items()} == SIZES
    assert read_split(written) == MINI


def test_only_pixels_of_training_maps_are_counted(written: Path, world: Path) -> None:
    counted = read_json(written / "split.json")["training_pixels"]
    total = np.zeros(256, dtype=np.int64)
    for path in (world / "SegmentationClass").glob("train_*.png"):
        for train_id in read_label_map(path, MINI.label_set).ravel():
            total[train_id] += 1
    assert counted == dict(zip(MINI.classes, total[:24].tolist(), strict=True))


def test_data_of_another_label_set_are_refused(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"summary\.json: label_set is 'mini24', the protocol needs"):
        splits.run(prepared=prepared, protocol="voc12-15-5", out=tmp_path / "splits")
    assert not (tmp_path / "splits").exists()


def test_an_index_without_training_pictures_counts_nothing(world: Path, tmp_path: Path) -> None:
    prepare.run(raw=world, protocol=MINI.name, image_sets={"val": "val"}, out=tmp_path / "prepared")
    splits.run(prepared=tmp_path / "prepared", protocol=MINI.name, out=tmp_path / "splits")
    assert set(read_json(tmp_path / "splits" / "split.json")["training_pixels"].values()) == {0}


def test_training_pixels_come_from_the_summary(prepared: Path, world: Path, tmp_path: Path) -> None:
    for label in (world / "SegmentationClass").iterdir():
        label.unlink()
    splits.run(prepared=prepared, protocol=MINI.name, out=tmp_path / "splits")
    counted = read_json(prepared / "summary.json")["splits"]["train"]["pixels"]
    assert read_json(tmp_path / "splits" / "split.json")["training_pixels"] == counted


def test_a_summary_without_pixels_asks_for_another_prepare_step(prepared: Path, tmp_path: Path) -> None:
    summary = read_json(prepared / "summary.json")
    del summary["splits"]["train"]["pixels"]
    write_json(prepared / "summary.json", summary)
    with pytest.raises(UserError, match=r"summary\.json counts no pixels; run the prepare step again"):
        splits.run(prepared=prepared, protocol=MINI.name, out=tmp_path / "splits")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("unseen", ["unicorn"], r"unseen: \['unicorn'\] are not in label set 'mini24'"),
        ("unseen", ["zebra"], "unseen: 1 names differ from the 6 of protocol"),
        ("classes", list(reversed(MINI.classes)), "classes: 24 names differ"),
        ("protocol", "mini-17-7", "unknown protocol 'mini-17-7'"),
        ("classes", None, r"classes: Field required"),
    ],
)
def test_a_changed_split_file_is_refused(written: Path, field: str, value: object, message: str) -> None:
    path = written / "split.json"
    content = {**read_json(path), field: value}
    path.write_text(json.dumps({name: item for name, item in content.items() if item is not None}))
    with pytest.raises(ValueError, match=message):
        read_split(written)


def own_split(world: Path, folder: Path) -> Path:
    """Make the splits of the mini world as a label set of one's own, whose file is gone then."""
    labels = folder / "own.yaml"
    content = {"name": "own", "classes": list(MINI.classes), "unseen": ["taxi"], "background": {"id": 0}}
    labels.write_text(json.dumps(content))
    prepare.run(
        raw=world, protocol=str(labels), image_sets={"train": "train", "val": "val"}, out=folder / "prepared"
    )
    splits.run(prepared=folder / "prepared", protocol=str(labels), out=folder / "splits")
    labels.unlink()
    return folder / "splits"


def test_splits_of_a_label_file_need_the_file_no_more(world: Path, tmp_path: Path) -> None:
    split = read_split(own_split(world, tmp_path))
    assert split.own is not None and split.name == split.own.protocol
    assert split.classes == MINI.classes and split.unseen_names == ("taxi",)
    summary = read_json(tmp_path / "prepared" / "summary.json")
    assert (summary["protocol"], summary["label_set"]) == (split.name, split.label_set.name)


@pytest.mark.parametrize(
    ("field", "message"),
    [("unseen", r"protocol is 'own-\w+', the label set in it is 'own-"), ("clases", "own.clases: Extra")],
)
def test_a_changed_label_file_in_the_splits_is_refused(
    world: Path, tmp_path: Path, field: str, message: str
) -> None:
    path = own_split(world, tmp_path) / "split.json"
    content = read_json(path)
    path.write_text(json.dumps({**content, "own": {**content["own"], field: ["zebra"]}}))
    with pytest.raises(ValueError, match=message):
        read_split(path.parent)
