"""`init` and `fit` on the command line: a project from options, and one sentence before any work where something lacks."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipelines.cli.app import app
from pipelines.workstation import workflow
from tests.own_data import write_own_data_and_clip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a working folder with a data set and a CLIP without weights."""
    monkeypatch.chdir(tmp_path)
    write_own_data_and_clip(tmp_path)
    return tmp_path


NEW = ["garden", "--labels", "garden/garden.yaml", "--clip", "clip"]


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*words])
    return done.exit_code, done.output


def test_options_become_settings(folder: Path) -> None:
    options = ["--methods", "zegclip, mini_linear", "--hold-out", "val=0.25", "--seed", "3"]
    code, output = run("init", *NEW, *options, "--self-training", "strict", "--across-settings")
    assert code == 0, output
    assert output.splitlines()[-1] == "next     cascade-clip run"
    stated = yaml.safe_load((folder / "params.yaml").read_text())
    assert stated["recipes"] == {"zegclip": "mini_zegclip", "mini_linear": "mini_linear"}
    assert (stated["seed"], stated["self_training"], stated["data"]["hold_out"]) == (
        3,
        "strict",
        {"val": 0.25},
    )
    assert (stated["gate"]["across_settings"], stated["gate"]["split"], stated["task"]) == (
        True,
        "val",
        "garden",
    )


def test_fit_runs_the_workflow_in_the_projects_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CASCADE_TRACKING", raising=False)
    places = []
    monkeypatch.setattr(workflow, "repro", lambda **_: places.append(Path.cwd()))
    monkeypatch.setattr(workflow, "print_outcome", lambda: None)
    registered = folder / "p/outputs/register/zegclip-inductive/model.json"
    registered.parent.mkdir(parents=True)
    registered.write_text('{"name": "garden"}')
    code, output = run("fit", *NEW, "--project", "p")
    assert code == 0, output
    assert places == [folder / "p"] and Path.cwd() == folder
    assert output.splitlines()[-1] == "serve    cascade-clip models serve garden"


def test_without_a_store_nothing_starts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADE_TRACKING", "off")
    code, output = run("fit", *NEW)
    assert code == 2 and "no MLflow store to register the models in" in output
    assert not (folder / "params.yaml").exists()


def test_serving_needs_a_name_or_a_project(folder: Path) -> None:
    code, output = run("models", "serve")
    assert code == 2 and "serve needs the name of a model" in output
