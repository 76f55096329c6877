"""dvc.yaml follows from graph and statements, and each stage depends on all that its step imports."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.imports import CANNOT_CHANGE_A_RESULT, PACKAGES, code_of, imported_by
from pipelines.graphs.project import read_project
from pipelines.workstation import dvc_file

ROOT = Path(__file__).parents[3]


def stages() -> dict[str, dict[str, Any]]:
    written = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in written.items()}


def step_of(stage: str) -> str:
    return stage.removesuffix("_validation").removesuffix("_inductive").removesuffix("_transductive")


def test_the_file_follows_from_graph_and_statements() -> None:
    content = dvc_file.workflow(read_project(ROOT))
    written = (ROOT / "dvc.yaml").read_text()
    assert written == dvc_file.text(content), "run: python -m pipelines.workstation.dvc_file"
    assert yaml.safe_load(written) == content


def _imported(module: str) -> Iterator[str]:
    """Yield the project's modules that a module's source imports."""
    tree = ast.parse(_file(module).read_text())
    typing_only = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only or not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{name}" for name in names)]
        yield from (name for name in names if name.startswith(PACKAGES) and _file(name).is_file())


def _file(module: str) -> Path:
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _closure(module: str) -> set[str]:
    closure, pending = set(), [module]
    while pending:
        one = pending.pop()
        if one not in closure and not one.startswith(CANNOT_CHANGE_A_RESULT):
            closure.add(one)
            pending += _imported(one)
    return closure


@pytest.mark.parametrize("stage", sorted(stages()))
def test_a_stage_depends_on_all_modules_of_its_step(stage: str) -> None:
    listed = [ROOT / path for path in stages()[stage]["deps"] if "$" not in path]
    needed = [_file(module) for module in _closure(f"components.steps.{step_of(stage)}")]
    assert len(needed) > 5
    missed = [path for path in needed if path.stat().st_size and not {path, *path.parents} & set(listed)]
    assert not missed


@pytest.mark.parametrize("step", ["train", "evaluate", "report"])
def test_sources_and_grimp_yield_the_same_modules(step: str) -> None:
    by_source = {one for one in _closure(f"components.steps.{step}") if _file(one).stat().st_size}
    assert by_source == {one for one in imported_by(step) if _file(one).stat().st_size}


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        ("cascade_core/batches/transforms.py", {"train", "self_train", "evaluate_inductive"}),
        ("cascade_core/datasets/catalogue.py", {"splits", "text_vectors", "train", "evaluate_inductive", "report"}),
        ("cascade_core/configs/templates.py", {"text_vectors", "train", "profile"}),
        ("cascade_core/runtime/threads.py", {"profile"}),
        ("cascade_core/configs/backbones.py", {"train"}),
        ("cascade_core/clip/tokenizers.py", {"text_vectors", "train"}),
        ("components/results/templates/report.html", {"report"}),
    ],
)  # fmt: skip
def test_a_change_of_code_makes_its_stages_stale(changed: str, stale: set[str]) -> None:
    path = ROOT / changed
    assert path.is_file()
    listed = {name: {ROOT / one for one in stage["deps"]} for name, stage in stages().items()}
    assert stale <= {name for name, deps in listed.items() if {path, *path.parents} & deps}


def test_code_that_records_or_watches_makes_no_stage_stale() -> None:
    left_out = tuple(room.replace(".", "/") for room in CANNOT_CHANGE_A_RESULT)
    for stage in stages().values():
        assert not [path for path in stage["deps"] if path.startswith(left_out)]


def test_a_room_of_which_little_is_imported_is_listed_by_file() -> None:
    code = code_of("splits")
    assert "components/inputs/split.py" in code and "cascade_core/labels" in code
    assert not {"cascade_core", "components", "components/inputs"} & set(code)
