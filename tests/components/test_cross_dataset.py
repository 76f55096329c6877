"""One checkpoint on many data sets: which classes count as seen there, and the table of what was found."""

from pathlib import Path

import pandas as pd
import pytest

from cascade_core.files import read_json, write_json
from cascade_core.labelsets import protocol
from cascade_core.train.checkpoint import CheckpointManifest
from components import cross_dataset
from components.confusion_table import confusion_at_hand
from components.evaluate import carried_over
from tests.tiny import tiny_config

SCORES = {
    "method": "zegclip",
    "setting": "inductive",
    "split": "val",
    "protocol": "voc12-20 from cocostuff-156-15",
    "seed": 0,
    "pAcc": 0.5,
    "miou_seen": 0.4,
    "miou_unseen": None,
    "hiou": None,
    "num_pictures": 3,
}


def manifest_of(name: str) -> CheckpointManifest:
    split = protocol(name)
    config = tiny_config()
    config = config.model_copy(update={"data": config.data.model_copy(update={"protocol": name})})
    return CheckpointManifest(
        config=config,
        setting="inductive",
        iteration=1,
        total_iterations=1,
        classes=split.classes,
        unseen=split.unseen_names,
        provenance={},
    )


def evaluation(folder: Path, **changes: object) -> Path:
    folder.mkdir()
    write_json(folder / "scores.json", SCORES | changes)
    table = pd.DataFrame(
        {"class": ["cat", "dog", "sofa"], "group": ["seen", "unseen", "seen"], "iou": [0.5, None, 0.25]}
    )
    table.to_csv(folder / "per_class.csv", index=False)
    return folder


def test_classes_of_a_target_are_seen_by_name() -> None:
    target, source = protocol("voc12-20"), protocol("cocostuff-156-15")
    carried = carried_over(target, manifest_of("cocostuff-156-15"))
    assert set(carried.seen_names) == set(target.classes) & set(source.seen_names)
    assert set(carried.seen_names) | set(carried.unseen_names) == set(target.classes)
    assert "cow" in source.unseen_names and "cow" in carried.unseen_names
    assert carried.name == "voc12-20 from cocostuff-156-15"


def test_a_target_without_a_common_class_is_refused() -> None:
    with pytest.raises(ValueError, match="'mini-18-6' shares no class name with the 15 seen classes"):
        carried_over(protocol("mini-18-6"), manifest_of("voc12-15-5"))


def test_the_table_holds_a_row_per_target_in_their_order(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path / "a"), evaluation(tmp_path / "b", protocol="other", pAcc=0.25)]
    done = cross_dataset.run(evaluations=folders, out=tmp_path / "out")
    assert [row["protocol"] for row in done.rows] == [SCORES["protocol"], "other"]
    assert (done.rows[0]["num_classes"], done.rows[0]["num_seen"]) == (3, 2)
    assert done.rows[0]["miou"] == pytest.approx(0.375)
    assert read_json(tmp_path / "out" / "cross_dataset.json") == list(done.rows)
    lines = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert [cell.strip() for cell in lines[3].strip("|").split("|")] == [
        "other", "dropped", "zegclip", "inductive", "val", "3", "3", "2", "37.5", "25.0", "40.0", "-", "-",
    ]  # fmt: skip
    assert "<td>37.5</td>" in done.page.read_text()


@pytest.mark.parametrize("missing", ["scores.json", "per_class.csv"])
def test_a_folder_that_is_no_evaluation_is_named(tmp_path: Path, missing: str) -> None:
    folder = evaluation(tmp_path / "a")
    (folder / missing).unlink()
    with pytest.raises(ValueError, match=missing):
        cross_dataset.run(evaluations=[folder], out=tmp_path / "out")


def test_no_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one evaluation"):
        cross_dataset.run(evaluations=[], out=tmp_path / "out")


def test_a_confusion_matrix_keeps_the_classes_at_hand(tmp_path: Path) -> None:
    names = ["cat", "dog", "sofa", "car"]
    counts = pd.DataFrame(
        [[3, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 2]], index=names, columns=names
    )
    counts.to_csv(tmp_path / "confusion.csv", index_label="truth")
    assert confusion_at_hand(tmp_path) == (["cat", "sofa", "car"], [[3, 1, 0], [0, 0, 0], [0, 0, 2]])


def test_a_folder_without_confusion_matrix_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"confusion\.csv does not exist"):
        confusion_at_hand(tmp_path)
