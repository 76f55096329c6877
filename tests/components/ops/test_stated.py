"""Components generated from steps' statements: their file, and their common body."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest

from cascade_core.errors import UserError
from components.bodies import stated_step as body
from components.bodies.interface import inputs, outputs
from components.cluster.pods import MINI, by_kind
from components.contract import Call, Cluster, Folder, Option, Step, step
from components.contract.shared import ClipFolder, Out, Overrides
from components.ops import write
from components.tracking import pipeline_run

ARGUMENTS: dict[str, Any] = {}


def test_the_file_follows_from_the_statements() -> None:
    assert write.FILE.read_text() == write.source(), "run: python -m components.ops.write"


def show(result: str, arguments: dict[str, Any], *, scores: Any) -> dict[str, Any]:
    scores.metadata["result"] = result
    return {"shown": len(arguments)}


def mixing(**cluster: Any) -> Step[Any, Any]:
    @step(
        "mix",
        example="",
        cluster=Cluster(
            pods=by_kind(MINI),
            output="mixed",
            options=("amount", "kinds", "overrides"),
            grouped={"seasoning": ("salt", "pepper")},
            reads_pictures=True,
            **cluster,
        ),
    )
    def run(
        call: Call,
        /,
        *,
        bowl: Annotated[Path, Folder("A bowl.", artifact="Model", below="final", travels_as="trained")],
        others: Annotated[tuple[Path, ...], Folder("More.")],
        clip: ClipFolder | None = None,
        amount: Annotated[int | None, Option("How much.")] = None,
        kinds: Annotated[list[int], Option("Which.")],
        salt: Annotated[float, Option("Salt.")] = 1.0,
        pepper: Annotated[float, Option("Pepper.")] = 2.0,
        quiet: Annotated[bool, Option("Pipelines never say.")] = False,
        overrides: Overrides,
        out: Out,
    ) -> str:
        """Mix."""
        ARGUMENTS.update(call.arguments)
        return "well"

    return run


def component(tmp_path: Path) -> dict[str, Any]:
    def artifact(name: str, **metadata: Any) -> SimpleNamespace:
        return SimpleNamespace(path=str(tmp_path / name), metadata=metadata)

    return {
        "raw": str(tmp_path),
        "trained": artifact("bowl", seed=3),
        "others": artifact("other", mlflow_run="abc", data_hash="old"),
        "clip": str(tmp_path),
        "amount": 2,
        "kinds": "[1, 2]",
        "overrides": '{"train.iterations": 4}',
        "seasoning": '{"salt": 3}',
        "mixed": artifact("mixed"),
        "scores": artifact("scores"),
        "run_component": None,
    }


def test_inputs_and_outputs_follow_from_the_statement() -> None:
    stated = mixing(pages={"scores": "Metrics"})
    assert list(inputs(stated)) == [
        ("raw", "str"),
        ("trained", "Input[Model]"),
        ("others", "Input[Artifact]"),
        ("clip", "str"),
        ("amount", "int"),
        ("kinds", "str"),
        ("overrides", "str"),
        ("seasoning", "str"),
    ]
    assert list(outputs(stated)) == [("mixed", "Output[Artifact]"), ("scores", "Output[Metrics]")]


def test_the_body_passes_folders_and_labels_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(pipeline_run.PARENT_VARIABLE, "")
    monkeypatch.setattr(body, "step_named", lambda name: mixing(pages={"scores": "Metrics"}, show=show))
    values = component(tmp_path)
    body.run_component("mix", values)
    assert {
        "bowl": tmp_path / "bowl" / "final",
        "others": (tmp_path / "other",),
        "clip": tmp_path,
        "amount": 2,
        "kinds": [1, 2],
        "salt": 3,
        "pepper": 2.0,
        "quiet": False,
        "overrides": {"train.iterations": 4},
        "out": tmp_path / "mixed",
    } == ARGUMENTS
    assert values["mixed"].metadata == {
        "seed": "3", "mlflow_run": "abc", "data_hash": "old", "amount": 2, "shown": 8
    }  # fmt: skip
    assert values["scores"].metadata == {"seed": "3", "result": "well"}
    assert pipeline_run.os.environ[pipeline_run.PARENT_VARIABLE] == "abc"


def test_a_training_without_a_named_place_runs_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[tuple[str, str]] = []
    monkeypatch.setenv(pipeline_run.PARENT_VARIABLE, "")
    monkeypatch.setattr(body, "step_named", lambda name: mixing(trains=True))
    monkeypatch.setattr(
        "components.launching.nodes.run_here_or_on_nodes",
        lambda name, _, nodes: launched.append((name, nodes)),
    )
    values = component(tmp_path) | {"nodes": "{}", "reuse_trainings": True}
    body.run_component("mix", values)
    assert launched == [("mix", "{}")]
    assert "finished_training" not in values["mixed"].metadata


def test_an_unknown_option_of_a_group_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "step_named", lambda name: mixing())
    values = component(tmp_path) | {"seasoning": '{"sugar": 1}'}
    with pytest.raises(UserError, match="seasoning .* names sugar; known are salt, pepper"):
        body.run_component("mix", values)


IMPORTED_IN_A_POD = """
import ast, sys
from pathlib import Path
for path in Path(sys.argv[1]).glob("*.py"):
    for function in ast.parse(path.read_text()).body:
        if isinstance(function, ast.FunctionDef) and function.decorator_list:
            lines = [one for one in function.body if isinstance(one, ast.Import | ast.ImportFrom)]
            exec(compile(ast.Module(lines, []), function.name, "exec"))
"""


def test_the_imports_of_bodies_define_no_component() -> None:
    """In a pod, kfp has no decorator that could define a component."""
    environment = {**os.environ, "_KFP_RUNTIME": "true"}
    ops = write.FILE.parent
    program = [sys.executable, "-c", IMPORTED_IN_A_POD, str(ops)]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
