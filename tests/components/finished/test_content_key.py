"""The key of a training follows from its content, and from nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cascade_core.runtime.files import write_json
from components import imports
from components.artifacts.manifest import write_manifest
from components.contract import Call
from components.finished.content_key import content_of, key_of
from components.steps import self_train, train
from tests.components.conftest import RECIPE, SHORT, Folders


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Give folders with the files that the key of a training reads."""
    root = tmp_path / "inputs"
    made = Folders(*(root / name for name in ("prepared", "splits", "text", "clip")))
    files = {
        made.prepared: "index.parquet", made.splits: "split.json", made.text: "class_vectors.safetensors",
        made.clip: "model.safetensors", root / "raw": "picture.jpg",
    }  # fmt: skip
    for folder, name in files.items():
        folder.mkdir(parents=True)
        (folder / name).write_text(name)
    write_manifest(made.prepared, step="prepare", inputs={"raw": root / "raw"}, parameters={})
    write_json(made.clip / "config.json", {})
    return made


def call_of(folders: Folders, **changes: Any) -> Call:
    arguments: dict[str, Any] = {
        **folders.steps, "clip": folders.clip, "recipe": RECIPE, "overrides": SHORT, "seed": 3, "out": Path("out")
    }  # fmt: skip
    return Call(train.run, arguments | changes)


def copied(folders: Folders, to: Path) -> Folders:
    shutil.copytree(folders.prepared.parent, to)
    return Folders(*(to / name for name in ("prepared", "splits", "text", "clip")))


def test_place_processes_and_stated_defaults_change_nothing(folders: Folders, tmp_path: Path) -> None:
    elsewhere = copied(folders, tmp_path / "copy")
    usual = {**SHORT, "train.log_every": 1, "optim.min_lr": 1e-06}
    content = content_of(call_of(folders))
    other = call_of(elsewhere, overrides=usual, out=tmp_path, processes=2, resume=False)
    assert content_of(other) == content
    assert len(key_of(content)) == 32


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("configuration", lambda folders: {"seed": 4}),
        ("configuration", lambda folders: {"recipe": "mini_zegclip"}),
        ("configuration", lambda folders: {"overrides": {**SHORT, "train.iterations": 5}}),
        ("clip/", lambda folders: _append(folders.clip / "model.safetensors")),
        ("prepared/index.parquet", lambda folders: _append(folders.prepared / "index.parquet")),
        ("splits/split.json", lambda folders: _append(folders.splits / "split.json")),
        ("text/class_vectors.safetensors", lambda folders: _append(folders.text / "class_vectors.safetensors")),
    ],
)  # fmt: skip
def test_each_part_of_the_content_changes_the_key(
    folders: Folders, tmp_path: Path, part: str, change: Callable[[Folders], dict[str, Any] | None]
) -> None:
    changed = copied(folders, tmp_path / "copy")
    content, other = content_of(call_of(folders)), content_of(call_of(changed, **(change(changed) or {})))
    assert {name for name in content if content[name] != other[name]} == {part.rstrip("/")}
    assert key_of(content) != key_of(other)


def _append(file: Path) -> None:
    with file.open("ab") as stream:
        stream.write(b"\n")


def test_only_code_that_the_step_imports_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = imports.sha256
    before = imports.code_hash("train")

    def changed(module: str) -> str:
        monkeypatch.setattr(
            imports, "sha256", lambda path: "0" if path.as_posix().endswith(module) else hashed(path)
        )
        return imports.code_hash("train")

    assert changed("cascade_core/train/loop.py") != before
    assert changed("components/steps/evaluate.py") == before
    assert changed("components/tracking/tracker.py") == before
    assert changed("components/finished/take_or_train.py") == before
    assert imports.code_hash("self_train") != before


def test_a_self_training_counts_the_checkpoint_it_starts_from(folders: Folders, tmp_path: Path) -> None:
    def content(weights: str) -> dict[str, str]:
        (tmp_path / "half").mkdir(exist_ok=True)
        (tmp_path / "half" / "model.safetensors").write_text(weights)
        (tmp_path / "history.csv").write_text(weights)
        arguments: dict[str, Any] = {
            **folders.steps,
            "trained": tmp_path,
            "overrides": {},
            "out": Path("out"),
        }
        return content_of(Call(self_train.run, arguments))

    one, other = content("a"), content("b")
    assert {name for name in one if one[name] != other[name]} == {"trained/half"}
