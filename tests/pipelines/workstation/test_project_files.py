"""Projects in any folder: settings from choices, updates that keep comments, and nothing written for a wrong choice."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cascade_core.errors import UserError
from pipelines.workstation import project_files
from pipelines.workstation.project_files import Choices, make
from tests.own_data import write_own_data_and_clip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a working folder with a data set and a CLIP, and no project yet."""
    monkeypatch.chdir(tmp_path)
    write_own_data_and_clip(tmp_path)
    return tmp_path


NEW = Choices(data=Path("garden"), labels=Path("garden/garden.yaml"), clip="clip")


def settings(folder: Path) -> Any:
    return yaml.safe_load((folder / "params.yaml").read_text())


def test_a_new_project_states_what_was_found(folder: Path) -> None:
    make(Path("p"), NEW)
    stated = settings(folder / "p")
    garden = folder / "garden"
    assert stated["protocol"] == str(garden / "garden.yaml")
    assert stated["data"] == {
        "raw": str(garden),
        "images": "images",
        "maps": "maps",
        "clip": str(folder / "clip"),
        "hold_out": {"val": 0.1, "test": 0.1},
    }
    assert (stated["evaluate"], stated["fit"]) == ({"split": "test"}, {"split": "val"})
    assert "/outputs/" in (folder / "p/.gitignore").read_text() and (folder / "p/.dvc/config").is_file()
    assert "\n  package:\n" in (folder / "p/dvc.yaml").read_text()


def test_a_training_free_method_is_the_recipe_of_the_clip(folder: Path) -> None:
    make(Path(), Choices(**vars(NEW) | {"methods": ("zegclip", "naclip")}))
    assert settings(folder)["recipes"] == {"zegclip": "mini_zegclip", "naclip": "mini_naclip"}


def test_paths_within_the_project_are_relative(folder: Path) -> None:
    make(Path(), NEW)
    stated = settings(folder)
    assert (stated["protocol"], stated["data"]["raw"], stated["data"]["clip"]) == (
        "garden/garden.yaml",
        "garden",
        "clip",
    )


def test_a_choice_changes_its_setting_and_keeps_the_others(folder: Path) -> None:
    make(Path(), NEW)
    file = folder / "params.yaml"
    file.write_text(file.read_text().replace("seed: 0", "seed: 3  # ours"))
    before = (folder / "dvc.yaml").read_text()
    make(Path(), Choices(held_out={"val": 0.25}, overrides={"train.iterations": 5}, self_training="strict"))
    stated = settings(folder)
    assert "seed: 3  # ours" in file.read_text()
    assert stated["data"]["hold_out"] == {"val": 0.25}
    assert (stated["evaluate"]["split"], stated["overrides"]) == ("val", {"train": {"iterations": 5}})
    assert "self_train:" not in before and "self_train:" in (folder / "dvc.yaml").read_text()


def test_folders_of_pictures_may_be_splits(folder: Path) -> None:
    images = folder / "garden/images"
    for split, numbers in (("train", (0, 1)), ("val", (2, 3))):
        (images / split).mkdir()
        (folder / "garden/maps" / split).mkdir()
        for number in numbers:
            for sub in ("images", "maps"):
                name = f"{number:03}.png"
                (folder / "garden" / sub / name).rename(folder / "garden" / sub / split / name)
    make(Path(), NEW)
    assert settings(folder)["data"]["splits"] == {"train": "train", "val": "val"}
    assert settings(folder)["evaluate"]["split"] == "val"


def test_edited_settings_give_the_workflow_other_stages(folder: Path) -> None:
    make(Path(), NEW)
    file = folder / "params.yaml"
    file.write_text(file.read_text().replace("self_training: none", "self_training: oracle"))
    project_files.refresh()
    assert "self_train:" in (folder / "dvc.yaml").read_text()
    (folder / "dvc.yaml").write_text("stages: {}\n")
    project_files.refresh()
    assert (folder / "dvc.yaml").read_text() == "stages: {}\n"


def test_within_a_git_repository_a_project_may_be_a_subfolder(folder: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    make(Path("p"), NEW)
    assert (folder / "p/.dvc").is_dir() and not (folder / ".dvc").exists()


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (Choices(), "a new project needs a folder of data and --labels and --clip"),
        (Choices(data=Path("none"), labels=NEW.labels, clip="clip"), "data set none is not a folder"),
        (Choices(data=NEW.data, labels=NEW.labels, clip="ViT-X"), "CLIP ViT-X is neither a CLIP folder"),
        (Choices(data=NEW.data, labels=Path("a.yaml"), clip="clip"), "a.yaml"),
        (Choices(data=Path("garden/maps"), labels=NEW.labels, clip="clip"), "the pictures are looked for in"),
        (
            Choices(data=NEW.data, labels=NEW.labels, clip="clip", maps=Path("clip")),
            "clip does not lie below garden",
        ),
        (
            Choices(data=NEW.data, labels=NEW.labels, clip="clip", methods=("zegclipp",)),
            "unknown method or recipe 'zegclipp'",
        ),
        (
            Choices(data=NEW.data, labels=NEW.labels, clip="clip", overrides={"train.iteration": 1}),
            "unknown override 'train.iteration'",
        ),
    ],
)
def test_a_wrong_choice_leaves_no_project(folder: Path, choices: Choices, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(Path(), choices)
    assert not (folder / "params.yaml").exists() and not (folder / "dvc.yaml").exists()


def test_a_workflow_of_another_origin_stays(folder: Path) -> None:
    (folder / "dvc.yaml").write_text("stages: {}\n")
    with pytest.raises(UserError, match="dvc.yaml"):
        make(Path(), NEW)
    assert not (folder / "params.yaml").exists()
