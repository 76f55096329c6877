"""Compiling the pipeline: the YAML is a contract, compared with one that was looked at."""

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import ops
from pipelines.catalogue import compile_pipeline
from pipelines.resources import RESOURCES, resources

GOLDEN = Path(__file__).parent / "golden"


def _compiled(path: Path, **options: str) -> list[dict[str, Any]]:
    compile_pipeline("zero_shot", path, **options)
    return list(yaml.safe_load_all(path.read_text()))


def _executors(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    executors = documents[0]["deploymentSpec"]["executors"]
    return {name: one["container"] for name, one in executors.items() if "container" in one}


@pytest.mark.parametrize("kind", sorted(RESOURCES))
def test_compiled_yaml_equals_the_golden_one(kind: str, tmp_path: Path) -> None:
    golden = GOLDEN / f"zero_shot_{kind}.yaml"
    expected = list(yaml.safe_load_all(golden.read_text()))
    assert _compiled(tmp_path / "pipeline.yaml", kind=kind) == expected, (
        f"if the change is meant: cascade-clip pipeline compile --kind {kind} --out {golden}"
    )


def test_every_step_runs_in_our_image_and_installs_nothing(tmp_path: Path) -> None:
    containers = _executors(_compiled(tmp_path / "pipeline.yaml", image="registry.example/ours:1-python3.11"))
    assert {container["image"] for container in containers.values()} == {"registry.example/ours:1-python3.11"}
    assert not [name for name, container in containers.items() if "pip install" in str(container["command"])]


def test_every_step_has_its_resources(tmp_path: Path) -> None:
    containers = _executors(_compiled(tmp_path / "pipeline.yaml", kind="gpu"))
    with_gpu = {name for name, one in containers.items() if "accelerator" in one["resources"]}
    assert with_gpu == {"exec-train", "exec-self-train", "exec-evaluate", "exec-evaluate-2", "exec-profile"}
    assert all(one["resources"]["resourceMemoryLimit"] for one in containers.values())


def test_bodies_only_call_steps() -> None:
    tree = ast.parse(Path(ops.__file__).read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert {function.name for function in functions} == set(RESOURCES["cpu"])
    statements = {
        function.name: [node for node in function.body if not isinstance(node, ast.Import | ast.ImportFrom)]
        for function in functions
    }
    assert max(len(body) for body in statements.values()) <= 7


def test_kinds_give_the_same_steps() -> None:
    assert set(RESOURCES["cpu"]) == set(RESOURCES["gpu"])


def test_unknown_resources_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown resources 'tpu'; known are cpu, gpu"):
        resources("tpu")


def test_a_pipeline_is_written_as_yaml_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pipeline\.txt: a compiled pipeline is YAML"):
        compile_pipeline("zero_shot", tmp_path / "pipeline.txt")
    assert not list(tmp_path.iterdir())
