"""The pipelines with every step run locally: their scores equal those of DVC's run with the same seed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from cascade_core.datasets.mini import CLASSES
from cascade_core.labels.label_file import read_label_file
from cascade_core.runtime.files import read_json
from components.tracking.tracker import flattened
from tests.workflow.conftest import FEW_ITERATIONS, Workflow, copy_of_store

METHOD = "cascade_clip"
SCORES = ("pAcc", "miou_seen", "miou_unseen", "hiou", "trainable_params", "gmacs")

pytestmark = pytest.mark.slow


OVERRIDES = [f"--set={key}={value}" for key, value in flattened(FEW_ITERATIONS).items()]


def run_local(workflow: Workflow, *arguments: str | Path, succeeds: bool = True, **environment: str) -> str:
    """Run a pipeline in DVC's copy of the project, and return its output."""
    program = Path(sys.executable).parent / "cascade-clip"
    done = subprocess.run(
        [program, "pipeline", "run-local", *arguments],
        cwd=workflow.root,
        env={**workflow.environment(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == succeeds, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def report(workflow: Workflow) -> Path:
    """Run the whole workflow with one recipe, and return the report step's folder."""
    out = workflow.root / "local_outputs" / "kfp"
    run_local(workflow, "--recipe", f"mini_{METHOD}", *OVERRIDES, "--out", out)
    (benchmark,) = out.glob("*/report/results/benchmark.json")
    return benchmark.parent


def test_scores_are_those_of_the_dvc_run(workflow: Workflow, report: Path) -> None:
    by_dvc = read_json(workflow.root / "reports" / "benchmark.json")
    expected = [row for row in by_dvc if row["method"] == METHOD]
    rows = read_json(report / "benchmark.json")
    assert [row["setting"] for row in rows] == ["inductive", "transductive_oracle"]
    for ours, theirs in zip(rows, expected, strict=True):
        assert {key: ours[key] for key in SCORES} == {key: theirs[key] for key in SCORES}


def test_results_are_artifacts_that_a_page_can_show(workflow: Workflow, report: Path) -> None:
    by_dvc = read_json(workflow.root / "outputs" / "prepared" / "summary.json")
    written = {
        path.parent.name: read_json(path) for path in report.parent.parent.rglob("executor_output.json")
    }
    outputs = {step: one["artifacts"] for step, one in written.items() if "artifacts" in one}
    trained = outputs["train"]["trained"]["artifacts"][0]
    assert trained["metadata"]["data_hash"] == by_dvc["data_sha256"]
    (matrix,) = (one["metadata"]["confusionMatrix"] for one in outputs["evaluate"]["confusion"]["artifacts"])
    assert 0 < len(matrix["rows"]) <= 24
    assert len(matrix["annotationSpecs"]) == len(matrix["rows"])
    page = Path(outputs["report"]["page"]["artifacts"][0]["uri"])
    assert page.read_bytes() == (report / "report.html").read_bytes()


def test_every_step_leaves_a_manifest_of_the_same_data(workflow: Workflow, report: Path) -> None:
    manifests = {path: read_json(path) for path in report.parent.parent.rglob("manifest.json")}
    steps = {manifest["step"] for manifest in manifests.values() if "step" in manifest}
    assert steps == {
        "prepare", "splits", "text_vectors", "train", "self_train", "evaluate", "profile", "register", "report",
    }  # fmt: skip
    prepared = [manifest for manifest in manifests.values() if manifest.get("step") == "prepare"]
    by_dvc = read_json(workflow.root / "outputs" / "prepared" / "manifest.json")
    assert [one["content_sha256"] for one in prepared] == [by_dvc["content_sha256"]]


def test_equal_content_of_dvc_and_kubeflow_is_one_version(workflow: Workflow, report: Path) -> None:
    run = report.parent.parent
    registered = [read_json(path) for path in sorted(run.rglob("model.json"))]
    assert {one["name"] for one in registered} == {f"mini-18-6-{METHOD}"}
    # The pipeline trained what DVC had registered already, inductive and transductive.
    assert sorted(one["version"] for one in registered) == [1, 2]


def test_the_pipeline_is_one_run_whose_children_are_its_steps(workflow: Workflow, report: Path) -> None:
    parent, children = _pipeline_run(workflow.root / "mlruns" / "mlflow.db")
    assert parent.info.status == "FINISHED"
    assert {child.data.tags["step"] for child in children} == {
        "prepare", "splits", "text_vectors", "train", "self_train", "evaluate", "profile", "register", "report"
    }  # fmt: skip
    assert {child.info.status for child in children} == {"FINISHED"}


@pytest.mark.slow
def test_a_failing_step_closes_the_pipelines_run_as_failed(workflow: Workflow, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    store = tmp_path / "mlflow.db"
    run_local(
        workflow,
        *("-p", f"raw={tmp_path / 'empty'}", "--out", tmp_path / "out"),
        succeeds=False,
        MLFLOW_TRACKING_URI=f"sqlite:///{store}",
    )
    parent, _ = _pipeline_run(store)
    assert parent.info.status == "FAILED"
    assert parent.data.tags["error"]


def _pipeline_run(store: Path) -> tuple[Run, list[Run]]:
    client = MlflowClient(tracking_uri=f"sqlite:///{store}")
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    (parent,) = (run for run in runs if run.data.tags.get("pipeline") == "zero-shot-segmentation")
    nested = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    return parent, nested


@pytest.mark.slow
def test_one_checkpoint_is_compared_on_many_targets(workflow: Workflow, tmp_path: Path) -> None:
    labels = tmp_path / "own.yaml"
    labels.write_text(f"name: own\nclasses: {json.dumps(list(CLASSES))}\nbackground: {{id: 0}}\n")
    shared = {"raw": "data/mini/VOCdevkit/VOC2012", "image_sets": '{"test": "test"}', "split": "test"}
    # The second takes its background policy from the parameter, which needs vectors of the names.
    targets = [
        {**shared, "protocol": "mini-18-6", "background": "dropped"},
        {**shared, "protocol": str(labels)},
    ]
    run_local(
        workflow,
        *("--pipeline", "cross_dataset", "--out", tmp_path),
        *("-p", "background=prompts=picture, scene", "-p", "limit=4"),
        *("-p", f"checkpoint=outputs/train/{METHOD}/final", "-p", f"targets={json.dumps(targets)}"),
    )
    (path,) = tmp_path.rglob("cross_dataset.json")
    rows = read_json(path)
    own = read_label_file(labels).protocol
    assert [(row["protocol"], row["background"]) for row in rows] == [
        ("mini-18-6 from mini-18-6", "dropped"),
        (f"{own} from mini-18-6", "prompts picture, scene"),
    ]
    assert [(row["num_seen"], row["hiou"]) for row in rows] == [(24, None), (25, None)]
    assert all(row["miou"] == pytest.approx(row["miou_seen"]) and row["miou"] > 0 for row in rows)


@pytest.mark.slow
def test_a_grid_of_recipes_and_seeds_becomes_one_table(workflow: Workflow, tmp_path: Path) -> None:
    recipes = ["--recipe", "mini_zegclip", "--recipe", "mini_cascade_clip"]
    few = ["--set=train.iterations=4", "--set=train.batch_size=4", "-p", "limit=4", "-p", "seeds=[0, 1]"]
    run_local(workflow, "--pipeline", "ablation", *recipes, *few, "--out", tmp_path)
    (path,) = tmp_path.rglob("benchmark.json")
    assert [(row["method"], row["seed"]) for row in read_json(path)] == [
        ("zegclip", 0), ("zegclip", 1), ("cascade_clip", 0), ("cascade_clip", 1)
    ]  # fmt: skip


# Scores after few iterations are low but reproducible, so the allowed drop is tiny; speed varies on a busy machine, so
# the allowed slowdown is large.
SHARP = {
    "max_drop_points": dict.fromkeys(("pAcc", "miou_seen", "miou_unseen", "hiou"), 0.1),
    "max_slowdown_share": 0.9,
    "confidence": 0.95,
}


@pytest.mark.slow
def test_a_benchmark_run_fails_only_if_something_regressed(workflow: Workflow, tmp_path: Path) -> None:
    def rerun(name: str, penalty: int, *, succeeds: bool = True) -> str:
        few = ["--set=train.iterations=20", "--set=train.batch_size=4", "--set=self_train.iterations=2"]
        few += ["--set=self_train.batch_size=4", "--set=self_train.start_iteration=2"]
        return run_local(
            workflow,
            *("--pipeline", "benchmark", "--recipe", "mini_zegclip", *few, "--out", tmp_path / name),
            *(f"--set=evaluate.seen_penalty={penalty}", "-p", "split=val", "-p", "seeds=[0]"),
            *("-p", f"thresholds={json.dumps(SHARP)}"),
            succeeds=succeeds,
            MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path / 'mlflow.db'}",
        )

    assert "Benchmark rerun: first" in _page(rerun("first", 0))
    assert "Benchmark rerun: no change" in _page(rerun("again", 0))
    log = rerun("planted", 1, succeeds=False)
    assert "the benchmark regressed" in log
    (page,) = (tmp_path / "planted").rglob("benchmark.html")
    assert "Benchmark rerun: regressed" in page.read_text()
    outcomes = _outcomes(tmp_path / "mlflow.db")
    assert outcomes == ["FINISHED", "FINISHED", "FAILED"]


@pytest.mark.slow
def test_a_benchmark_of_champions_trains_nothing(workflow: Workflow, tmp_path: Path) -> None:
    champions = ["--pipeline", "benchmark", "-p", "models=champions", "-p", "split=val", "-p", "limit=4"]
    champions += ["-p", f"thresholds={json.dumps(SHARP)}"]
    store = copy_of_store(workflow, tmp_path)
    for outcome in ("first", "no change"):
        out = tmp_path / outcome
        printed = run_local(workflow, *champions, "--out", out, MLFLOW_TRACKING_URI=f"sqlite:///{store}")
        assert f"Benchmark rerun of champions: {outcome}" in _page(printed)
        steps = {path.parent.name for path in out.rglob("executor_output.json")}
        assert {"take-champion", "evaluate", "profile"} <= steps
        assert not steps & {"train", "self-train"}


@pytest.mark.slow
def test_a_benchmark_without_champions_fails(workflow: Workflow, tmp_path: Path) -> None:
    log = run_local(
        workflow,
        *("--pipeline", "benchmark", "-p", "models=champions", "--recipe", "mini_linear", "--out", tmp_path),
        succeeds=False,
    )
    assert "no champion is registered for mini_linear (mini-18-6-linear)" in log


def _page(printed: str) -> str:
    """Read the page whose path is the last line of a run's output."""
    return Path(printed.splitlines()[-1].strip()).read_text()


def _outcomes(store: Path) -> list[str]:
    """Return the final states of the pipeline's runs, the oldest first."""
    client = MlflowClient(tracking_uri=f"sqlite:///{store}")
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    ours = [run for run in runs if run.data.tags.get("pipeline") == "benchmark"]
    return [run.info.status for run in sorted(ours, key=lambda run: run.info.start_time)]
