"""Folders of commands: a CLIP's name is found, and no command writes into a folder of DVC's by itself."""

from importlib import import_module
from pathlib import Path

import pytest

import components.steps
from components.contract import Output, Step
from components.steps import text_vectors
from components.storage import places
from tests.tiny import write_tiny_clip

STEPS = sorted(path.stem for path in Path(components.steps.__path__[0]).glob("[a-z]*.py"))


@pytest.mark.parametrize("name", STEPS)
def test_no_command_writes_into_dvcs_folders_by_default(name: str) -> None:
    step = import_module(f"components.steps.{name}").run
    assert isinstance(step, Step)
    meaning = step.parameters[step.output].meaning
    assert isinstance(meaning, Output)
    assert meaning.default is None or Path(meaning.default).parts[0] == "local_outputs"


def test_steps_and_places_take_an_imported_clip_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "home" / "clip" / "tiny"
    write_tiny_clip(folder)
    assert places.folder("clip", "tiny") == folder
    names = tmp_path / "names.txt"
    names.write_text("zebra\n")
    text_vectors.run(names=names, templates=["a {}"], clip=Path("tiny"), out=tmp_path / "text")
    assert (tmp_path / "text" / "class_vectors.safetensors").is_file()
