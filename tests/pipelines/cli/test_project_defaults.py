"""In a project's folder the command of a step takes its defaults from the settings; options on the command line win."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from components.contract import Step, step_named
from pipelines.cli.app import app
from tests.cli_commands import command_at

OWN: dict[str, Any] = {
    "seed": 4,
    "protocol": "garden.yaml",
    "data": {
        "raw": "data",
        "clip": "clip",
        "images": "images",
        "maps": "maps",
        "hold_out": {"val": 0.25},
        "split_seed": 7,
        "leave_out": True,
    },
    "recipes": {"zegclip": "mini_zegclip"},
    "overrides": {"train": {"iterations": 5}},
    "self_training": "strict",
    "evaluate": {"split": "val"},
    "gate": {"min_hiou_gain": 1.0, "max_seen_drop": 0.5},
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the working folder of a project with all files that its commands name, which are empty."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(OWN))
    for name in ("outputs/prepared", "outputs/splits", "outputs/text", "data/images", "data/maps"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("clip", "trained", "checkpoint", "evaluation"):
        (tmp_path / name).mkdir()
    for name in ("garden.yaml", "all.json", "names.txt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arguments(monkeypatch: pytest.MonkeyPatch, step: Step[Any, Any], *words: str) -> dict[str, Any]:
    """Return the arguments that the step gets from a command line."""
    got: dict[str, Any] = {}
    command_at(*step.command.split())  # made of the function before it is replaced
    monkeypatch.setitem(vars(step), "function", _receiving(step.function.__module__, got))
    done = CliRunner().invoke(app, [*step.command.split(), *words])
    assert done.exit_code == 0, done.output
    return got


def _receiving(module: str, got: dict[str, Any]) -> Any:
    def function(_call: Any, **arguments: Any) -> None:
        got.update(arguments)

    function.__module__ = module
    return function


def test_training_follows_the_settings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got = arguments(monkeypatch, step_named("train"), "--out", "out")
    assert (got["recipe"], got["clip"], got["seed"]) == ("mini_zegclip", Path("clip"), 4)
    assert got["overrides"] == {"train.iterations": 5}


def test_options_win_over_settings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--out", "out", "--seed", "1", "--random-clip", "--set", "train.iterations=2")
    got = arguments(monkeypatch, step_named("train"), *words)
    assert (got["seed"], got["clip"], got["overrides"]) == (1, None, {"train.iterations": 2})


def test_preparing_follows_the_settings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got = arguments(monkeypatch, step_named("prepare_custom"))
    assert (got["labels"], got["images"], got["maps"]) == (
        Path("garden.yaml"),
        Path("data/images"),
        Path("data/maps"),
    )
    assert (got["held_out"], got["seed"], got["leave_out"]) == ({"val": 0.25}, 7, True)
    for flag in ("--annotations", "--coco"):  # the former name
        got = arguments(monkeypatch, step_named("prepare_custom"), flag, "all.json")
        assert (got["maps"], got["annotations"], got["held_out"]) == (None, {"": Path("all.json")}, None)


def test_a_former_flag_replaces_a_setting(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {key: value for key, value in OWN["data"].items() if key != "maps"}
    settings = {**OWN, "data": {**data, "coco": "stated.json"}}
    (project / "params.yaml").write_text(yaml.safe_dump(settings))
    assert arguments(monkeypatch, step_named("prepare_custom"))["annotations"] == {
        "": Path("data/stated.json")
    }
    got = arguments(monkeypatch, step_named("prepare_custom"), "--coco=all.json")
    assert got["annotations"] == {"": Path("all.json")}


@pytest.mark.parametrize(
    ("step", "words", "expected"),
    [
        ("splits", (), {"protocol": "garden.yaml"}),
        ("self_train", ("--trained", "trained", "--out", "o"), {"mode": "strict"}),
        ("evaluate", ("--checkpoint", "checkpoint", "--out", "o"), {"split": "val"}),
        ("gate", ("--evaluation", "evaluation", "--out", "o"), {"min_hiou_gain": 1.0, "max_seen_drop": 0.5}),
        ("text_vectors", ("--names", "names.txt"), {"protocol": None, "recipe": "mini_zegclip"}),
    ],
)
def test_other_steps_follow_the_settings(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    words: tuple[str, ...],
    expected: dict[str, Any],
) -> None:
    got = arguments(monkeypatch, step_named(step), *words)
    assert {name: got[name] for name in expected} == expected


def test_another_programs_parameters_are_ignored(project: Path) -> None:
    (project / "params.yaml").write_text("train: {lr: 0.1}\n")
    done = CliRunner().invoke(app, ["train", "--out", "out"])
    assert done.exit_code == 2 and "--recipe" in done.stderr


def test_wrong_settings_are_one_sentence(project: Path) -> None:
    (project / "params.yaml").write_text(yaml.safe_dump({**OWN, "sed": 1}))
    done = CliRunner().invoke(app, ["splits"])
    assert done.exit_code == 2 and done.stderr.startswith("error: params.yaml: sed: Extra inputs")
