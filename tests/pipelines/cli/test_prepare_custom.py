"""`prepare custom` on the command line: its table, its exit code, and impossible options."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from cascade_core.labels.label_file import LabelFile
from pipelines.cli.app import app
from pipelines.graphs.project import checked_project

DOCUMENT = Path(__file__).parents[3] / "docs" / "own_data.md"


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Give a folder with a label file, five pictures and their maps."""
    (tmp_path / "pets.yaml").write_text("name: pets\nclasses: [cat, dog, cow]\nbackground: {id: 0}\n")
    for i in range(5):
        for folder, array in (
            ("images", np.full((2, 2, 3), 40 * i, np.uint8)),
            ("maps", np.array([[0, 1], [1, 2]], np.uint8)),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / folder / f"{i}.png")
    return tmp_path


def run(pets: Path, *options: str) -> tuple[int, str]:
    arguments = ["prepare", "custom", "--labels", f"{pets}/pets.yaml", "--images", f"{pets}/images"]
    done = CliRunner().invoke(app, [*arguments, *options, "--out", f"{pets}/out"])
    return done.exit_code, done.output


def test_classes_are_printed_in_a_table(pets: Path) -> None:
    code, output = run(pets, "--maps", f"{pets}/maps", "--hold-out", "val=0.2")
    assert code == 0, output
    assert re.search(r"cat\W+4\W+50\.00 %\W+1\W+50\.00 %", output)
    assert re.search(r"background\W+25\.00 %\W+25\.00 %", output)
    assert "no pixel in train: cow" in output and (pets / "out" / "index.parquet").is_file()


def test_a_bad_picture_fails_the_command_unless_left_out(pets: Path) -> None:
    Image.fromarray(np.full((2, 2), 9, np.uint8)).save(pets / "maps" / "3.png")
    options = ("--maps", f"{pets}/maps", "--hold-out", "val=0.2")
    code, output = run(pets, *options)
    assert code == 2 and "1 ids; mend them" in output and "maps/3.png: label ids 9 (4 pixels)" in output
    code, output = run(pets, *options, "--leave-out")
    assert code == 0 and "maps/3.png: label ids 9 (4 pixels)" in output


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--maps", "maps", "--hold-out", "val"), "--hold-out 'val' is not SPLIT=SHARE"),
        (("--maps", "maps", "--hold-out", "val=half"), "--hold-out val='half' is no share"),
        (("--maps", "maps", "--split", "val=a", "--split", "val=b"), "--split names 'val' twice"),
        (("--annotations", "a.json", "--coco", "b.json"), "--annotations 'b.json': a file was given already"),
        (("--annotations", "val=none.json"), "none.json cannot be read"),
        (("--coco", "val=none.json"), "--coco is called --annotations now; the old name still works"),
        ((), "give exactly one of them (--maps, --annotations)"),
    ],
)
def test_impossible_options_are_refused(pets: Path, options: tuple[str, ...], sentence: str) -> None:
    code, output = run(pets, *options)
    assert code == 2 and sentence in output
    assert not (pets / "out").exists()


def test_label_files_and_settings_of_the_documentation_are_right() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)
    contents = [yaml.safe_load(block) for block in blocks]
    projects = [content for content in contents if "recipes" in content]
    assert projects and len(projects) < len(contents)
    for content in contents:
        if content in projects:
            checked_project(content, DOCUMENT)
        else:
            LabelFile.model_validate(content)
