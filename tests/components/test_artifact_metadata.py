"""Metadata of Kubeflow's artifacts: named keys of inputs, strict JSON, rows that distinguish runs."""

import ast
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import components
from components.artifact_metadata import copied, named, write_metadata, write_metrics
from components.results.confusion_table import shares

FROM_KUBEFLOW = {"display_name": "trained", "store_session_info": "{}", "recipe": "zegclip", "seed": 3.0}


def artifact(path: Path = Path("none"), **metadata: Any) -> SimpleNamespace:
    return SimpleNamespace(path=str(path), metadata=metadata)


def test_a_step_copies_named_keys_only() -> None:
    assert copied(artifact(**FROM_KUBEFLOW)) == {"recipe": "zegclip", "seed": 3.0}


def test_values_are_strict_json_that_a_page_shows() -> None:
    written = artifact()
    write_metadata(
        written, {"seed": 3.0, "champion": True, "hiou": float("nan"), "speed": float("inf"), "iou": 0.5}
    )
    assert written.metadata == {"seed": "3", "champion": "yes", "iou": 0.5}
    with pytest.raises(TypeError):
        write_metadata(written, {"path": Path("a")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_metadata(written, {"inside": [float("nan")]})


def test_scores_have_rows_that_tell_runs_apart_and_a_file(tmp_path: Path) -> None:
    scores = artifact(tmp_path / "scores")
    write_metrics(scores, {"hiou": 0.5}, {"recipe": "zegclip", "seed": 3, "split": "val", "mlflow_run": "a"})
    assert scores.metadata == {"recipe": "zegclip", "seed": "3", "split": "val", "hiou": 0.5}
    assert json.loads((tmp_path / "scores").read_text()) == scores.metadata


def test_an_artifact_is_named_by_recipe_setting_and_seed() -> None:
    facts = {**FROM_KUBEFLOW, "setting": "inductive", "split": "val"}
    assert named("evaluation", facts) == {"display_name": "evaluation zegclip inductive val seed 3"}
    assert named("prepared", {"data_hash": "ab"}) == {}


def test_only_one_module_writes_metadata() -> None:
    root = Path(components.__file__).parent
    writers = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and (
            (node.attr == "log_metric" and ast.unparse(node.value) != "client")  # MLflow's
            or (node.attr == "update" and ast.unparse(node.value).endswith(".metadata"))
        )
    }
    assert writers == {"artifact_metadata.py"}


def test_the_confusion_matrix_shows_percents() -> None:
    names, counts = ["a", "b", "c", "d"], [[8, 2, 0, 0], [0, 5, 0, 0], [0, 0, 9, 1], [0, 0, 0, 0]]
    assert shares(names, counts, unseen={"d"}, most=3) == (
        ["a", "b", "d"], [[80.0, 20.0, 0.0], [0.0, 100.0, 0.0], [0.0, 0.0, 0.0]]
    )  # fmt: skip
