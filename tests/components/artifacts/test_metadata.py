"""Metadata of Kubeflow's artifacts: named keys of inputs, strict JSON, rows that distinguish runs."""

import ast
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import components
from components.artifacts.metadata import copied, named, write_metadata, write_metrics
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
    assert writers == {"artifacts/metadata.py"}


def test_the_confusion_matrix_shows_percents() -> None:
    names, counts = ["a", "b", "c", "d"], [[8, 2, 0, 0], [0, 5, 0, 0], [0, 0, 9, 1], [0, 0, 0, 0]]
    assert shares(names, counts, unseen={"d"}, most=3) == (
        ["a", "b", "d"], [[80.0, 20.0, 0.0], [0.0, 100.0, 0.0], [0.0, 0.0, 0.0]]
    )  # fmt: skip


WITHOUT_FILES = {
    "components/cluster/trainjob.py": "a digest",
    "components/contract/parameters.py": "words of a command",
    "components/demo/page.py": "names for the page's script",
    "components/launching/nodes.py": "a digest",
    "components/registry/registration.py": "a digest",
    "components/tracking/pipeline_run.py": "a digest",
    "components/vectors/text_cache.py": "a digest",
    "cascade_core/labels/label_file.py": "a digest",
    "cascade_core/runtime/files.py": "a check of letters; write_json is strict",
    "pipelines/cli/kubeflow_options.py": "a parameter, of settings that were read from YAML",
    "pipelines/cli/pipeline.py": "a parameter",
    "pipelines/graphs/defaults.py": "parameters",
    "pipelines/kubeflow/catalogue.py": "a length",
    "pipelines/kubeflow/cluster.py": "a filter of names",
}
"""The modules that make JSON which no step writes: Kubeflow and strict readers refuse NaN in a file."""


def test_every_json_that_a_step_writes_is_strict() -> None:
    root = Path(components.__file__).parents[1]
    lenient = set()
    for package in ("cascade_core", "components", "pipelines", "cascade_clip"):
        for path in (root / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert 'ser_json_inf_nan="constants"' not in text, path  # pydantic writes null or text otherwise
            for call in ast.walk(ast.parse(text)):
                if isinstance(call, ast.Call) and ast.unparse(call.func) in ("json.dump", "json.dumps"):
                    words = {word.arg: ast.unparse(word.value) for word in call.keywords}
                    if words.get("allow_nan") != "False":
                        lenient.add(path.relative_to(root).as_posix())
    assert lenient == set(WITHOUT_FILES)
