"""Compiling the pipeline: the YAML is a contract, compared with one that was looked at."""

import ast
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from components import ops
from pipelines import benchmark, zero_shot
from pipelines.catalogue import PIPELINES, compile_pipeline
from pipelines.commands.kubeflow_options import Nodes, PipelineName
from pipelines.resources import DATA_FOLDER, RESOURCES, local_resources, resources

FastLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
GOLDEN = Path(__file__).parent / "golden"


@cache
def _compiled(pipeline: str = "zero_shot", **options: str) -> list[dict[str, Any]]:
    """Compile once what several tests look at; none changes it."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "pipeline.yaml")
        compile_pipeline(pipeline, path, **options)
        return list(yaml.load_all(path.read_text(), FastLoader))


def _executors(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    executors = documents[0]["deploymentSpec"]["executors"]
    return {name: one["container"] for name, one in executors.items() if "container" in one}


@pytest.mark.parametrize("kind", sorted(RESOURCES))
@pytest.mark.parametrize("pipeline", sorted(PIPELINES))
def test_compiled_yaml_equals_the_golden_one(pipeline: str, kind: str) -> None:
    golden = GOLDEN / f"{pipeline}_{kind}.yaml"
    expected = list(yaml.load_all(golden.read_text(), FastLoader))
    assert _compiled(pipeline, kind=kind) == expected, (
        f"if the change is meant: cascade-clip pipeline compile --pipeline {pipeline} --kind {kind} --out {golden}"
    )


def test_the_commands_know_every_pipeline_and_kind() -> None:
    assert {name.value for name in PipelineName} == set(PIPELINES)
    assert {kind.value for kind in Nodes} == set(RESOURCES)


def test_small_results_are_of_kinds_that_a_page_shows() -> None:
    components = _compiled()[0]["components"]
    kinds = {
        name: entry["artifactType"]["schemaTitle"]
        for component in components.values()
        for name, entry in component.get("outputDefinitions", {}).get("artifacts", {}).items()
    }
    assert kinds["scores"] == kinds["metrics"] == "system.Metrics"
    assert kinds["confusion"] == "system.ClassificationMetrics"
    assert kinds["page"] == "system.HTML"
    assert kinds["trained"] == kinds["self_trained"] == "system.Model"
    assert kinds["prepared"] == "system.Dataset"


def test_no_large_data_enter_as_artifacts() -> None:
    for golden in (GOLDEN / f"{pipeline}_{kind}.yaml" for pipeline in PIPELINES for kind in RESOURCES):
        documents = list(yaml.load_all(golden.read_text(), FastLoader))
        executors = documents[0]["deploymentSpec"]["executors"].values()
        assert not [one for one in executors if "importer" in one], golden


def test_every_step_runs_in_our_image_and_installs_nothing() -> None:
    containers = _executors(_compiled(image="registry.example/ours:1-python3.11"))
    assert {container["image"] for container in containers.values()} == {"registry.example/ours:1-python3.11"}
    assert not [name for name, container in containers.items() if "pip install" in str(container["command"])]


def test_every_step_has_its_resources() -> None:
    containers = _executors(_compiled(kind="gpu"))
    with_gpu = {name for name, one in containers.items() if "accelerator" in one["resources"]}
    assert with_gpu == {"exec-train", "exec-self-train", "exec-evaluate", "exec-evaluate-2", "exec-profile"}
    assert all(one["resources"]["resourceMemoryLimit"] for one in containers.values())


def test_every_row_of_the_table_is_in_the_yaml() -> None:
    pipeline, platform = _compiled(kind="gpu")
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"]
    row = RESOURCES["gpu"]["train"]
    assert settings["activeDeadlineSeconds"] == str(row.minutes * 60)
    assert settings["emptyDirMounts"][0]["sizeLimit"] == row.shared_memory
    assert settings["nodeSelector"]["labels"] == {"nvidia.com/gpu.present": "true"}
    assert settings["pvcMount"][0]["mountPath"] == DATA_FOLDER
    assert [one["optional"] for one in settings["secretAsEnv"]] == [False, True]
    graphs = [one["dag"]["tasks"] for one in pipeline["components"].values() if "dag" in one]
    (tasks,) = (tasks for tasks in graphs if "train" in tasks)
    assert tasks["train"]["retryPolicy"]["maxRetryCount"] == row.retries
    assert "retryPolicy" not in tasks["profile"]
    cached = {name for name, task in tasks.items() if task["cachingOptions"].get("enableCache")}
    assert cached == {"train"}


def test_no_secret_stands_in_the_yaml_but_by_name() -> None:
    containers = _executors(_compiled(kind="gpu"))
    assert not [name for name, one in containers.items() if "env" in one]


def test_a_step_that_fails_here_is_not_run_again() -> None:
    assert {row.retries for row in local_resources().values()} == {0}
    assert local_resources().keys() == RESOURCES["cpu"].keys()


def test_an_unknown_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown pipeline 'none'; known are zero_shot, cross_dataset"):
        compile_pipeline("none", tmp_path / "pipeline.yaml")


def test_bodies_only_call_steps() -> None:
    trees = [ast.parse(path.read_text()) for path in Path(ops.__file__).parent.glob("*.py")]
    functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert {function.name for function in functions} == set(RESOURCES["cpu"])
    statements = {
        function.name: [node for node in function.body if not isinstance(node, ast.Import | ast.ImportFrom)]
        for function in functions
    }
    assert max(len(body) for body in statements.values()) <= 8


def test_kinds_give_the_same_steps() -> None:
    assert set(RESOURCES["cpu"]) == set(RESOURCES["gpu"])


def test_unknown_resources_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown resources 'tpu'; known are cpu, gpu"):
        resources("tpu")


def test_a_pipeline_is_written_as_yaml_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pipeline\.txt: a compiled pipeline is YAML"):
        compile_pipeline("zero_shot", tmp_path / "pipeline.txt")
    assert not list(tmp_path.iterdir())


def test_defaults_of_a_submitted_pipeline_are_those_of_the_parameter_file() -> None:
    parameters = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
    assert yaml.safe_load(zero_shot.MARGINS) == parameters["gate"]
    assert yaml.safe_load(benchmark.THRESHOLDS) == parameters["benchmark"]["thresholds"]
    assert tuple(benchmark.SEEDS) == tuple(parameters["benchmark"]["seeds"])


def test_whatever_breaks_the_exit_handler_closes_the_run() -> None:
    for pipeline in PIPELINES:
        tasks = _compiled(pipeline, kind="cpu")[0]["root"]["dag"]["tasks"]
        handler, closing = sorted(tasks, key=lambda name: not name.startswith("exit-handler"))
        assert tasks[closing]["componentRef"]["name"] == "comp-close-run"
        assert tasks[closing]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
        assert tasks[closing]["dependentTasks"] == [handler]
