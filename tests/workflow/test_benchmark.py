"""Benchmark reruns through the command line: unchanged code, then a planted loss."""

import subprocess
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from cascade_core.runtime.exit_codes import ExitCode
from cascade_core.runtime.files import read_json
from components.steps.benchmark_rerun import CHANGES_FILE
from tests.workflow.conftest import Workflow, copy_of_store

# Scores are tiny after a few iterations, so the allowed drops are, too.
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
    """Return the steps that ran as children of the only pipeline run in a store."""
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
    """Return the scores that changed; speed does not count, since the machine may be busy."""
    changes = read_json(rerun / "report" / CHANGES_FILE)
    assert {change["metric"] for change in changes} >= SMALL.keys()
    return [
        change["metric"]
        for change in changes
        if change["metric"] in SMALL and change["verdict"] != "no change"
    ]


@pytest.mark.slow
def test_unchanged_code_passes_and_a_planted_loss_fails(
    workflow: Workflow, parameters: Path, tmp_path: Path
) -> None:
    # Without the penalty some seen pixels are right even after so few iterations.
    kind = ("--set", "evaluate.seen_penalty=0")
    status, log = _rerun(workflow, parameters, *kind, "--out", str(tmp_path / "first"))
    assert (status, "benchmark: first" in log) == (0, True), log
    assert _steps(tmp_path / "mlflow.db") == {
        *("prepare", "splits", "text_vectors", "train", "profile", "evaluate", "benchmark")
    }
    status, log = _rerun(workflow, parameters, *kind, "--out", str(tmp_path / "again"))
    assert (status, _moved(tmp_path / "again")) == (0, []), log
    planted = ("--set", "evaluate.seen_penalty=1", "--out", str(tmp_path / "planted"))
    status, log = _rerun(workflow, parameters, *planted)
    assert status == ExitCode.INCOMPLETE, log
    assert "mini-18-6 val zegclip inductive: mIoU(S) regressed, 0.00 against" in log
    assert (tmp_path / "planted" / "report" / "benchmark.html").is_file()


@pytest.mark.slow
def test_unchanged_champions_show_no_change(workflow: Workflow, parameters: Path, tmp_path: Path) -> None:
    champions = ("--models", "champions", "--out")
    store = copy_of_store(workflow, tmp_path)
    uri = {"MLFLOW_TRACKING_URI": f"sqlite:///{store}"}
    status, log = _benchmark(workflow, parameters, *champions, str(tmp_path / "first"), **uri)
    assert (status, "benchmark: first" in log) == (0, True), log
    assert "left out, as nothing is registered for them: mini_naive_fusion" in log
    status, log = _benchmark(workflow, parameters, *champions, str(tmp_path / "again"), **uri)
    assert (status, _moved(tmp_path / "again")) == (0, []), log
    rows = read_json(tmp_path / "again" / "report" / "benchmark.json")
    assert {row["method"] for row in rows} == {"zegclip", "cascade_clip"}
    assert all(row["checkpoint"] for row in rows)
