"""A pipeline sent again: a training killed in the middle goes on in its folder, and a finished one is trained no more.

pytest -s -m reliability tests/reliability/test_pipeline_trainings.py
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from cascade_core.runtime.files import read_json, sha256
from components.cluster.names import TRAININGS_VARIABLE
from components.finished.take_or_train import TAKEN_TAG
from components.tracking.tracker import flattened
from tests.reliability.small_project import small_project
from tests.workflow.conftest import FEW_ITERATIONS, Workflow

pytestmark = pytest.mark.reliability

# Python imports this before the program. The process of the train step dies after its first checkpoint is in place.
KILLER = """
import os, pathlib, signal, sys
ledger = pathlib.Path(os.environ["KILLED_ONCE"])
def hook(event, arguments):
    if event == "os.rename" and "train" in sys.orig_argv and not ledger.exists():
        resume = pathlib.Path(os.fspath(arguments[0]))
        if resume.name == "resume":  # the second checkpoint moves the first one aside
            ledger.touch()
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""
EVERY_STEP = {"train.checkpoint_every": 1}
OUTPUTS = {
    "train": {"trained": "final", "half": "half", "training": "history.csv"},
    "self-train": {"self_trained": "final", "training": "history.csv"},
}
"""What a training hands on, by step and artifact."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    top = tmp_path_factory.mktemp("sent_again")
    (top / "hook").mkdir()
    (top / "hook" / "sitecustomize.py").write_text(KILLER)
    return small_project(top / "project")


class Sent:
    """One submission of the pipeline: its log, and what its steps handed on."""

    def __init__(self, project: Workflow, name: str, *words: str, succeeds: bool = True) -> None:
        top = project.root.parent
        few = [f"--set={key}={value}" for key, value in (flattened(FEW_ITERATIONS) | EVERY_STEP).items()]
        done = subprocess.run(
            [Path(sys.executable).parent / "cascade-clip", "pipeline", "run-local", "--recipe", "mini_zegclip",
             *few, "--out", str(top / name), *words],
            cwd=project.root,
            env={
                **project.environment(),
                "PYTHONPATH": os.pathsep.join([str(top / "hook"), str(project.root)]),
                "KILLED_ONCE": str(top / "killed"),
                TRAININGS_VARIABLE: str(top / "trainings"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )  # fmt: skip
        assert (done.returncode == 0) == succeeds, done.stdout
        self.log = done.stdout
        written = {path.parent.name: read_json(path) for path in (top / name).rglob("executor_output.json")}
        self.artifacts = {step: one["artifacts"] for step, one in written.items() if "artifacts" in one}
        client = MlflowClient(f"sqlite:///{project.root}/mlruns/mlflow.db")
        self.versions = {(one.name, one.version) for one in client.search_model_versions()}

    def training(self, step: str, output: str) -> dict[str, Any]:
        (artifact,) = self.artifacts[step][output]["artifacts"]
        return artifact

    def trained(self) -> list[str]:
        """Say of both trainings whether this submission trained them."""
        return [self.training(step, next(iter(OUTPUTS[step])))["metadata"]["trained"] for step in OUTPUTS]

    def hashes(self) -> dict[tuple[str, str], str]:
        """Give the hash of all that the trainings handed on."""
        return {
            (step, output): sha256(Path(self.training(step, output)["uri"], part))
            for step, parts in OUTPUTS.items()
            for output, part in parts.items()
        }


def test_a_pipeline_sent_again_loses_no_training(small: Workflow) -> None:
    killed = Sent(small, "killed_run", succeeds=False)
    assert (small.root.parent / "killed").exists() and "train" not in killed.artifacts
    (unfinished,) = (small.root.parent / "trainings").glob("*/.training.unfinished")

    resumed = Sent(small, "again")
    assert f"resuming {unfinished} at step 1 of 4" in resumed.log
    assert resumed.trained() == ["yes", "yes"]
    assert resumed.training("train", "trained")["metadata"]["data_hash"]
    assert len(resumed.versions) == 2

    whole = Sent(small, "whole", "--no-cache")
    assert "resuming" not in whole.log and whole.trained() == ["yes", "yes"]
    assert resumed.hashes() == whole.hashes()

    taken = Sent(small, "taken")
    assert taken.log.count("nothing is trained") == 2 and taken.trained() == ["no", "no"]
    assert whole.versions == taken.versions == resumed.versions
    assert taken.hashes() == whole.hashes()
    client = MlflowClient(f"sqlite:///{small.root}/mlruns/mlflow.db")
    experiments = [one.experiment_id for one in client.search_experiments()]
    steps = [run.data.tags["step"] for run in client.search_runs(experiments, f"tags.{TAKEN_TAG} != ''")]
    assert sorted(steps) == ["self_train", "train"]
