"""The whole workflow through DVC in a fresh copy of the repository; a second run repeats only changed stages."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from cascade_core.runtime.files import read_json
from tests.workflow.conftest import Workflow

METHODS = ("zegclip", "cascade_clip")
SETTINGS = ("inductive", "transductive")
FRACTIONS = ("pAcc", "miou_seen", "miou_unseen", "hiou")


def _stages(log: str) -> set[str]:
    return {line.split("'")[1] for line in log.splitlines() if line.startswith("Running stage")}


def test_every_step_leaves_its_folder_with_a_manifest(workflow: Workflow) -> None:
    outputs = workflow.root / "outputs"
    folders = [outputs / name for name in ("prepared", "splits", "text")]
    folders += [
        outputs / step / method
        for step in ("train", "self_train", "profile", "fit_thresholds")
        for method in METHODS
    ]
    runs = [f"{method}-{setting}" for method in METHODS for setting in SETTINGS]
    folders += [outputs / step / run for step in ("evaluate", "gate", "register") for run in runs]
    for folder in (*folders, workflow.root / "reports"):
        manifest = read_json(folder / "manifest.json")
        assert manifest["inputs"], folder
        assert str(workflow.root) not in json.dumps(manifest)


def test_benchmark_rows_are_complete_and_fractions(workflow: Workflow) -> None:
    rows = read_json(workflow.root / "reports" / "benchmark.json")
    assert [(row["method"], row["setting"]) for row in rows] == [
        (method, setting) for method in METHODS for setting in ("inductive", "transductive_oracle")
    ]
    for row in rows:
        assert (row["protocol"], row["split"], row["seed"]) == ("mini-18-6", "test2", 0)
        assert all(0 <= row[name] <= 1 for name in FRACTIONS)
        assert row["trainable_params"] > 0
        assert row["gmacs"] > 0
        assert row["images_per_second"] > 0


def test_a_run_leaves_only_tracked_or_ignored_files(workflow: Workflow) -> None:
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=workflow.root, capture_output=True, text=True, check=True
    ).stdout
    assert set(status.splitlines()) <= {" M params.yaml", "?? dvc.lock"}


def test_dvc_reads_metrics_and_plots(workflow: Workflow) -> None:
    metrics = json.loads(workflow.dvc("metrics", "show", "--json"))
    (revision,) = metrics.values()
    (scores,) = (file["data"] for file in revision["data"].values())
    assert list(scores) == ["hIoU", "mIoU(U)", "mIoU(S)", "pAcc"]
    assert all(len(of_models) == len(METHODS) * len(SETTINGS) for of_models in scores.values())
    plots = json.loads(workflow.dvc("plots", "show", "--json"))["data"]
    assert "training loss" in plots
    assert len(plots["training loss"][0]["content"]["data"]["values"]) >= 2 * len(METHODS)


def test_a_second_run_does_nothing(workflow: Workflow) -> None:
    again = workflow.dvc("repro", "--pull")
    assert _stages(again) == set()
    assert "up to date" in again


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"evaluate": {"split": "val"}},
            {f"evaluate_{setting}@{method}" for method in METHODS for setting in SETTINGS},
        ),
        (
            {"recipes": {"zegclip": "mini_zegclip", "cascade_clip": "mini_naive_fusion"}},
            {"train@cascade_clip"},
        ),
        ({"self_training": "strict"}, {f"self_train@{method}" for method in METHODS}),
    ],
    ids=["split", "recipe", "protocol"],
)
def test_a_changed_parameter_reruns_only_its_own_stages(
    workflow: Workflow, changes: dict[str, object], expected: set[str]
) -> None:
    """A dry run lists the stages whose own parameters changed; later stages depend on their outputs."""
    path = workflow.root / "params.yaml"
    untouched = path.read_text()
    try:
        workflow.set_parameters(**changes)
        assert _stages(workflow.dvc("repro", "--dry")) == expected
    finally:
        path.write_text(untouched)


@pytest.mark.slow
def test_an_experiment_uses_its_own_parameters(workflow: Workflow, tmp_path: Path) -> None:
    copy = Workflow(tmp_path / "copy")
    shutil.copytree(workflow.root, copy.root)
    stage = "evaluate_inductive@zegclip"
    log = copy.dvc("exp", "run", "-S", "evaluate.split=val", stage)
    assert _stages(log) == {stage}
    scores = read_json(copy.root / "outputs" / "evaluate" / "zegclip-inductive" / "scores.json")
    assert (scores["split"], scores["num_pictures"]) == ("val", 200)
