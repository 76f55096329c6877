"""`pipeline submit`, `schedule create` and `run-local` take a project: its settings become the run's parameters."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pipelines.cli.app import app
from pipelines.graphs.project import read_project
from pipelines.kubeflow.project_parameters import project_parameters
from pipelines.kubeflow.zero_shot import check_parameters
from tests.pipelines.kfp_server import Server

PROJECT: dict[str, Any] = {
    "seed": 4,
    "protocol": "garden.yaml",
    "task": "garden",
    "data": {
        "raw": "pictures",
        "clip": "/home/me/clip",
        "images": "images",
        "maps": "maps",
        "hold_out": {"val": 0.25},
    },
    "recipes": {"zegclip": "mini_zegclip"},
    "overrides": {"train": {"iterations": 5, "batch_size": None}},
    "evaluate": {"split": "val"},
    "cluster": {"folder": "/data/garden/", "clip": "/data/clip"},
}

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PROJECT))
    return tmp_path


def test_settings_become_parameters_with_the_places_in_the_pods(folder: Path) -> None:
    values = project_parameters(folder, in_pods=True)
    assert (values["raw"], values["clip"]) == ("/data/garden/pictures", "/data/clip")
    assert values["protocol"] == "/data/garden/garden.yaml"
    assert json.loads(values["folders"]) == {"images": "images", "maps": "maps", "hold_out": {"val": 0.25}}
    assert json.loads(values["overrides"]) == {"train.iterations": 5}
    assert (values["recipes"], values["seed"], values["task"]) == (["mini_zegclip"], 4, "garden")
    assert (values["split"], values["gate_split"]) == ("val", "val")
    check_parameters(values)


def test_on_this_machine_paths_lie_below_the_project(folder: Path) -> None:
    values = project_parameters(folder, in_pods=False)
    assert values["raw"] == str(folder / "pictures")
    assert (values["clip"], values["protocol"]) == ("/home/me/clip", str(folder / "garden.yaml"))


def test_a_place_that_nobody_states_is_named(folder: Path) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump({**PROJECT, "cluster": {"folder": "/data/garden"}}))
    with pytest.raises(
        ValueError, match=r"cluster.clip \(of /home/me/clip\) is missing: .* or give -p clip=PLACE"
    ):
        project_parameters(folder, in_pods=True)
    assert "clip" not in project_parameters(folder, in_pods=True, but={"clip"})
    (folder / "params.yaml").write_text(yaml.safe_dump({**PROJECT, "cluster": {}}))
    with pytest.raises(
        ValueError, match=r"cluster.raw .* cluster.clip .* cluster.labels \(of garden.yaml\) are missing"
    ):
        project_parameters(folder, in_pods=True)


def submitted(server: Server) -> dict[str, Any]:
    (run,) = [body for method, path, body in server.requests if (method, path[-5:]) == ("POST", "/runs")]
    parameters = run["runtime_config"]["parameters"]
    spec = run["pipeline_spec"].get("pipeline_spec", run["pipeline_spec"])
    evaluations = [name for name in spec["components"] if name.startswith("comp-evaluate")]
    return {**parameters, "pipeline": spec["pipelineInfo"]["name"], "evaluations": len(evaluations)}


def test_a_submission_takes_the_project_and_options_win(
    folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    words = ["pipeline", "submit", "--host", server.host, "-p", "seed=1", "--set", "train.batch_size=4"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    values = submitted(server)
    assert values["pipeline"] == "inductive-segmentation"
    assert values["evaluations"] == 1, "report and gate look at one split"
    assert (values["raw"], values["seed"]) == ("/data/garden/pictures", 1)
    assert json.loads(values["overrides"]) == {"train.iterations": 5, "train.batch_size": 4}


@pytest.mark.parametrize(("option", "evaluations"), [("gate_split=val", 1), ("split=train", 2)])
def test_a_model_is_evaluated_once_a_split(
    folder: Path, server: Server, option: str, evaluations: int
) -> None:
    words = ["pipeline", "submit", "--host", server.host, "--project", str(folder), "-p", option]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert submitted(server)["evaluations"] == evaluations


def test_a_schedule_takes_the_project(folder: Path, server: Server) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump({**PROJECT, "self_training": "strict"}))
    schedule = ["pipeline", "schedule", "create", "--host", server.host, "--name", "nightly", "--cron"]
    done = CliRunner().invoke(app, [*schedule, "0 3 * * *", "--project", str(folder)])
    assert done.exit_code == 0, done.output
    (body,) = [
        body for method, path, body in server.requests if (method, path[-14:]) == ("POST", "/recurringruns")
    ]
    parameters = body["runtime_config"]["parameters"]
    assert (parameters["self_training"], parameters["task"]) == ("strict", "garden")


def test_this_repository_is_a_project(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[3]
    values = project_parameters(root, in_pods=False)
    assert values["recipes"] == list(read_project(root).recipes.values())
    check_parameters(values)
