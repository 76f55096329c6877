"""The whole workflow as a Kubeflow pipeline, every step for real: it scores as DVC's run of the same seed does."""

import subprocess
import sys
from pathlib import Path

import pytest

from cascade_core.files import read_json
from components.tracking import flattened
from tests.workflow.conftest import FEW_ITERATIONS, Workflow

METHOD = "cascade_clip"
SCORES = ("pAcc", "miou_seen", "miou_unseen", "hiou", "trainable_params", "gmacs")


@pytest.fixture(scope="module")
def report(workflow: Workflow) -> Path:
    """Run the pipeline with one recipe in DVC's copy of the project, and give the report step's folder."""
    out = workflow.root / "local_outputs" / "kfp"
    overrides = [f"--set={key}={value}" for key, value in flattened(FEW_ITERATIONS).items()]
    program = Path(sys.executable).parent / "cascade-clip"
    done = subprocess.run(
        [program, "pipeline", "run-local", "--recipe", f"mini_{METHOD}", *overrides, "--out", out],
        cwd=workflow.root,
        env=workflow.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    (benchmark,) = out.glob("*/report/results/benchmark.json")
    return benchmark.parent


def test_scores_are_those_of_the_dvc_run(workflow: Workflow, report: Path) -> None:
    by_dvc = read_json(workflow.root / "reports" / "benchmark.json")
    expected = [row for row in by_dvc if row["method"] == METHOD]
    found = read_json(report / "benchmark.json")
    assert [row["setting"] for row in found] == ["inductive", "transductive_oracle"]
    for ours, theirs in zip(found, expected, strict=True):
        assert {key: ours[key] for key in SCORES} == {key: theirs[key] for key in SCORES}


def test_every_step_left_a_manifest_that_leads_back_to_the_same_data(
    workflow: Workflow, report: Path
) -> None:
    manifests = {path: read_json(path) for path in report.parent.parent.rglob("manifest.json")}
    steps = {manifest["step"] for manifest in manifests.values() if "step" in manifest}
    assert steps == {
        "prepare", "splits", "text_vectors", "train", "self_train", "evaluate", "profile", "register", "report"
    }  # fmt: skip
    prepared = [manifest for manifest in manifests.values() if manifest.get("step") == "prepare"]
    by_dvc = read_json(workflow.root / "outputs" / "prepared" / "manifest.json")
    assert [one["content_sha256"] for one in prepared] == [by_dvc["content_sha256"]]


def test_both_ways_lead_to_versions_in_the_registry(workflow: Workflow, report: Path) -> None:
    run = report.parent.parent
    registered = [read_json(path) for path in sorted(run.rglob("model.json"))]
    assert {one["name"] for one in registered} == {f"mini-18-6-{METHOD}"}
    assert sorted(one["version"] for one in registered) == [3, 4]
