"""A benchmark rerun through the command line: nothing changed, then something planted is caught."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from cascade_core.runtime.exit_codes import ExitCode
from cascade_core.runtime.files import read_json
from components.steps.benchmark_rerun import CHANGES_FILE
from tests.workflow.conftest import Workflow

# At a few iterations scores are tiny, so the drop that is let pass must be, too.
SMALL = {"pAcc": 0.1, "miou_seen": 0.1, "miou_unseen": 0.1, "hiou": 0.1}


@pytest.fixture
def parameters(workflow: Workflow, tmp_path: Path) -> Path:
    parameters = yaml.safe_load((workflow.root / "params.yaml").read_text())
    parameters["benchmark"] |= {"seeds": [0], "split": "val", "self_trained": []}
    parameters["benchmark"]["thresholds"] |= {"max_drop_points": SMALL, "max_slowdown_share": 0.9}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(parameters))
    return tmp_path / "params.yaml"


def _rerun(workflow: Workflow, parameters: Path, *arguments: str) -> tuple[int, str]:
    store = f"sqlite:///{parameters.parent / 'mlflow.db'}"
    few = ("--set", "train.iterations=20", "--recipe", "mini_zegclip")
    return _benchmark(workflow, parameters, *few, *arguments, MLFLOW_TRACKING_URI=store)


def _benchmark(workflow: Workflow, parameters: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        ["cascade-clip", "benchmark", "run", "--params", str(parameters), *arguments],
        cwd=workflow.root,
        env={**workflow.environment(), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def _steps(store: Path) -> set[str]:
    """Give the steps that are children of the one pipeline in a store."""
    client = MlflowClient(f"sqlite:///{store}")
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    (parent,) = (run for run in runs if "pipeline" in run.data.tags)
    assert parent.info.status == "FINISHED"
    return {
        run.data.tags["step"]
        for run in runs
        if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id and run.info.status == "FINISHED"
    }


def _moved(rerun: Path) -> list[str]:
    """Give the scores that are not what they were; speed is the machine's, which may be busy."""
    changes = read_json(rerun / "report" / CHANGES_FILE)
    assert {change["metric"] for change in changes} >= SMALL.keys()
    return [
        change["metric"]
        for change in changes
        if change["metric"] in SMALL and change["verdict"] != "no change"
    ]


def test_unchanged_code_changes_nothing_and_a_planted_loss_is_caught(
    workflow: Workflow, parameters: Path, tmp_path: Path
) -> None:
    # After so few iterations no score outweighs the usual penalty: without any, some seen pixels are right.
    kind = ("--set", "evaluate.seen_penalty=0")
    status, told = _rerun(workflow, parameters, *kind, "--out", str(tmp_path / "first"))
    assert (status, "benchmark: first" in told) == (0, True), told
    assert _steps(tmp_path / "mlflow.db") == {
        *("prepare", "splits", "text_vectors", "train", "profile", "evaluate", "benchmark")
    }
    status, told = _rerun(workflow, parameters, *kind, "--out", str(tmp_path / "again"))
    assert (status, _moved(tmp_path / "again")) == (0, []), told
    planted = ("--set", "evaluate.seen_penalty=1", "--out", str(tmp_path / "planted"))
    status, told = _rerun(workflow, parameters, *planted)
    assert status == ExitCode.INCOMPLETE, told
    assert "mini-18-6 val zegclip inductive: mIoU(S) regressed, 0.00 against" in told
    assert (tmp_path / "planted" / "report" / "benchmark.html").is_file()


@pytest.mark.slow
def test_champions_that_did_not_change_say_so(workflow: Workflow, parameters: Path, tmp_path: Path) -> None:
    champions = ("--models", "champions", "--out")
    store = shutil.copyfile(workflow.root / "mlruns" / "mlflow.db", tmp_path / "mlflow.db")
    uri = {"MLFLOW_TRACKING_URI": f"sqlite:///{store}"}
    status, told = _benchmark(workflow, parameters, *champions, str(tmp_path / "first"), **uri)
    assert (status, "benchmark: first" in told) == (0, True), told
    assert "left out, as nothing is registered for them: mini_naive_fusion" in told
    status, told = _benchmark(workflow, parameters, *champions, str(tmp_path / "again"), **uri)
    assert (status, _moved(tmp_path / "again")) == (0, []), told
    rows = read_json(tmp_path / "again" / "report" / "benchmark.json")
    assert {row["method"] for row in rows} == {"zegclip", "cascade_clip"}
    assert all(row["checkpoint"] for row in rows)
