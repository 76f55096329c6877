"""Every stage of `cascade-clip run` killed once, and every step of the pipeline failing once: the rerun completes.

pytest -s -m reliability tests/reliability/test_workflow_kills.py
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict
from mlflow import MlflowClient

from cascade_core.runtime.files import read_json
from components.tracking.tracker import flattened
from pipelines.kubeflow.catalogue import entry
from pipelines.kubeflow.resources import local_resources
from pipelines.workstation.unfinished import DVC_LOCK
from tests.reliability.small_project import small_project
from tests.workflow.conftest import FEW_ITERATIONS, Workflow

pytestmark = pytest.mark.reliability

# Python imports this before the program. The first time that a step of a name is about to move its finished folder into
# place, its process dies: the work is done, the MLflow run is open, the version is registered. A step of a pipeline that
# makes no folder dies when it is about to hand its output on.
KILLER = """
import os, pathlib, signal, sys
ledger, only = pathlib.Path(os.environ["KILLED_ONCE"]), os.environ.get("KILL_ONLY", "").split()
def name():
    if "DVC_STAGE" in os.environ:
        return os.environ["DVC_STAGE"]
    words = sys.orig_argv
    return words[words.index("--function_to_execute") + 1] if "--function_to_execute" in words else ""
def hands_on(event, arguments):
    if event == "os.rename":
        target = pathlib.Path(os.fspath(arguments[1]))
        return {"outputs", "reports", "local_outputs"} & set(target.absolute().parts) and not target.suffix
    return event == "open" and str(arguments[0]).endswith("executor_output.json")
def hook(event, arguments):
    if event in ("os.rename", "open") and hands_on(event, arguments) and (one := name()):
        if not (ledger / one).exists() and (not only or one in only):
            (ledger / one).touch()
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""


@pytest.fixture
def small(tmp_path: Path) -> Workflow:
    """Give a small project beside the hook that kills, and an empty ledger of kills."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(KILLER)
    (tmp_path / "killed").mkdir()
    return small_project(tmp_path / "project")


def _until_it_completes(project: Workflow, *words: str) -> tuple[int, set[str]]:
    """Repeat a command until it succeeds; give the number of failures and the names of what was killed."""
    top = project.root.parent
    environment = {
        **project.environment(),
        "PYTHONPATH": os.pathsep.join([str(top / "hook"), str(project.root)]),
        "KILLED_ONCE": str(top / "killed"),
    }
    failures = before = 0
    while True:
        done = subprocess.run(
            [Path(sys.executable).parent / "cascade-clip", *words],
            cwd=project.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        killed = {path.name for path in (top / "killed").iterdir()}
        if done.returncode == 0:
            return failures, killed
        failures += 1
        # Steps of a pipeline run at the same time, so that one attempt may see several die.
        assert len(killed) > before, f"attempt {failures} failed without a kill:\n{done.stdout}"
        before = len(killed)


def _statuses(project: Workflow) -> Counter[str]:
    client = MlflowClient(f"sqlite:///{project.root}/mlruns/mlflow.db")
    experiments = [one.experiment_id for one in client.search_experiments()]
    return Counter(run.info.status for run in client.search_runs(experiments, max_results=10000))


def _versions(project: Workflow) -> Counter[str]:
    client = MlflowClient(f"sqlite:///{project.root}/mlruns/mlflow.db")
    return Counter(version.name for version in client.search_model_versions())


@pytest.mark.parametrize(
    ("targets", "stages", "registered"),
    [
        (["register_inductive@zegclip"], 9, {"mini-18-6-zegclip": 1}),
        ([], 28, {"mini-18-6-zegclip": 2, "mini-18-6-cascade_clip": 2}),
    ],
    ids=["up to a version", "all"],
)
def test_each_stage_killed_once_and_the_workflow_completes(
    small: Workflow, targets: list[str], stages: int, registered: dict[str, int]
) -> None:
    failures, killed = _until_it_completes(small, "run", *targets)
    statuses, versions = _statuses(small), _versions(small)
    print(
        f"\nworkflow: {len(killed)} stages killed, {failures} reruns; runs {dict(statuses)}; versions {dict(versions)}"
    )
    assert len(killed) == stages
    assert statuses["RUNNING"] == 0
    assert versions == registered
    assert list((small.root / "outputs").rglob(".*")) == []
    assert not any(read_json(small.root / DVC_LOCK).values())
    assert "Running stage" not in small.dvc("repro", *targets)


def _steps_of(pipeline: str) -> set[str]:
    """Name the steps of a pipeline, each once, as the processes of `kfp.local` are called."""
    built = entry(pipeline).build(local_resources())
    executors = MessageToDict(built.pipeline_spec)["deploymentSpec"]["executors"].values()
    arguments = [executor["container"]["args"] for executor in executors]
    return {words[words.index("--function_to_execute") + 1] for words in arguments}


@pytest.mark.parametrize("only", ["register", ""], ids=["one step", "all"])
def test_each_step_failing_once_and_the_pipeline_completes(
    small: Workflow, monkeypatch: pytest.MonkeyPatch, only: str
) -> None:
    monkeypatch.setenv("KILL_ONLY", only)
    few = [f"--set={key}={value}" for key, value in flattened(FEW_ITERATIONS).items()]
    failures, killed = _until_it_completes(small, "pipeline", "run-local", "--recipe", "mini_zegclip", *few)
    statuses, versions = _statuses(small), _versions(small)
    print(
        f"\npipeline: {len(killed)} steps killed, {failures} reruns; runs {dict(statuses)}; versions {dict(versions)}"
    )
    assert killed == ({only} if only else _steps_of("zero_shot"))
    assert statuses["RUNNING"] == 0
    assert versions == {"mini-18-6-zegclip": 2}
