"""The settings of a project: wrong ones are refused by name, and dvc.yaml follows from them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cascade_core.errors import UserError
from pipelines.graphs.project import checked_project, read_project
from pipelines.workstation.dvc_file import installed_workflow, workflow

SOURCE = Path("params.yaml")
OWN: dict[str, Any] = {
    "protocol": "garden.yaml",
    "data": {"raw": "data", "clip": "clip", "images": "images", "maps": "maps", "hold_out": {"val": 0.2}},
    "recipes": {"zegclip": "mini_zegclip"},
    "overrides": {},
    "evaluate": {"split": "val"},
}


def changed(**changes: Any) -> dict[str, Any]:
    return {**OWN, **changes, "data": {**OWN["data"], **changes.get("data", {})}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**OWN, "recipe": {}}, r"params.yaml: recipe: Extra inputs are not permitted"),
        (changed(data={"map": "maps"}), r"data.map: Extra inputs"),
        (changed(data={"maps": None}), "state exactly one of maps and annotations"),
        (changed(data={"images": "../pictures"}), "data.images: '../pictures' is no path below data.raw"),
        (changed(data={"hold_out": {"val": 1.5}}), "data.hold_out.val: Input should be less than 1"),
        (changed(data={"splits": {"val": "holidays"}}), "split 'val' is stated twice"),
        (changed(protocol="mini-18-6"), "protocol is 'mini-18-6'; folders of your own need .* a label file"),
        (
            changed(evaluate={"split": "test"}),
            "evaluate.split is 'test'; the data have the splits train, val",
        ),
        (changed(recipes={}), "recipes: Dictionary should have at least 1 item"),
        (changed(self_training="both"), "self_training: .*'oracle'"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        checked_project(values, SOURCE)


def test_a_folder_without_settings_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no params.yaml in .* or make one with `cascade-clip init`"):
        read_project(tmp_path)


def stages_of(**changes: Any) -> dict[str, Any]:
    content = yaml.safe_load(installed_workflow(checked_project(changed(**changes), SOURCE)))
    return {name: stage.get("do", stage) for name, stage in content["stages"].items()}


def test_label_file_pictures_and_version_are_dependencies() -> None:
    stages = stages_of()
    files = {"${data.raw}/${data.images}", "${data.raw}/${data.maps}", "version.txt"}
    assert {*files, "${protocol}"} == set(stages["prepare"]["deps"])
    assert all("${protocol}" in stages[name]["deps"] for name in ("splits", "text_vectors"))
    assert files <= set(stages["train"]["deps"])
    assert all("version.txt" in stage["deps"] for name, stage in stages.items() if name != "package")
    assert not [name for name in stages if "transductive" in name or name == "self_train"]


def test_self_training_adds_its_stages() -> None:
    assert {"self_train", "evaluate_transductive", "register_transductive"} <= set(
        stages_of(self_training="strict")
    )


@pytest.mark.parametrize("key", ["annotations", "coco"])  # now and before
def test_files_of_objects_and_lists_are_dependencies(key: str) -> None:
    data = {"maps": None, key: "all.json", "hold_out": {}, "lists": {"train": "a.txt", "val": "b.txt"}}
    prepare = stages_of(data=data)["prepare"]
    assert {f"${{data.raw}}/${{data.{key}}}", "${data.raw}/${data.lists.val}"} <= set(prepare["deps"])
    assert f"--annotations=${{data.raw}}/${{data.{key}}}" in prepare["cmd"]
    assert "--split=val=${data.raw}/${data.lists.val}" in prepare["cmd"]


def test_two_splits_of_listed_data_are_enough() -> None:
    values = {
        **OWN,
        "protocol": "mini-18-6",
        "data": {"raw": "data", "clip": "clip", "image_sets": {"train": "train", "val": "val"}},
    }
    prepare = workflow(checked_project(values, SOURCE))["stages"]["prepare"]
    assert "--image-set=val=${data.image_sets.val} --out" in prepare["cmd"]


def test_training_free_recipes_are_measured_but_not_continued() -> None:
    recipes = {"naclip": "mini_naclip", "zegclip": "mini_zegclip"}
    values = changed(recipes=recipes, self_training="strict")
    content = yaml.safe_load(installed_workflow(checked_project(values, SOURCE)))
    stages = content["stages"]
    assert "--recipe=${recipes.zegclip}" in stages["text_vectors"]["cmd"]
    every, trained = "${recipes}", {"zegclip": "${recipes.zegclip}"}
    assert all(stages[name]["foreach"] == every for name in ("train", "profile", "register_inductive"))
    assert all(stages[name]["foreach"] == trained for name in ("self_train", "register_transductive"))
    (curves,) = (plot["training loss"] for plot in content["plots"] if "training loss" in plot)
    assert not [file for file in curves["y"] if "naclip" in file]
    assert "--evaluation=outputs/evaluate/naclip-inductive" in stages["report"]["cmd"]


def test_a_project_without_training_has_no_loss_curve() -> None:
    values = changed(recipes={"naclip": "mini_naclip"}, self_training="oracle")
    content = yaml.safe_load(installed_workflow(checked_project(values, SOURCE)))
    assert "self_train" not in content["stages"]
    assert [list(plot) for plot in content["plots"]] == [["IoU per class, naclip inductive"]]
