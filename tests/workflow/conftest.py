"""One run of the whole workflow through DVC, at a few training iterations, in a copy of the repository."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from components.tracking.displacement import relocate
from pipelines.workstation.workflow import stage_environment

REPOSITORY = Path(__file__).parents[2]
RUN_RECORD = "dvc.lock"

FEW_ITERATIONS = {
    "train": {"iterations": 4, "batch_size": 4},
    "self_train": {"iterations": 2, "batch_size": 4, "start_iteration": 2},
}


@dataclass(frozen=True)
class Workflow:
    """A copy of the repository, and the printed log of the workflow's run in it."""

    root: Path
    log: str = ""

    def dvc(self, *arguments: str) -> str:
        """Run dvc in the copy and return its output; a failure fails the test with the output."""
        return self._call("dvc", *arguments)

    def run(self, *arguments: str) -> str:
        """Run the stages in the copy as `cascade-clip run` does, side by side, and return the output; fails as `dvc`."""
        return self._call("pipelines.workstation.repro", *arguments)

    def _call(self, module: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{module} {' '.join(arguments)}:\n{done.stdout}"
        return done.stdout

    def set_parameters(self, **changes: object) -> None:
        """Replace whole sections of params.yaml."""
        path = self.root / "params.yaml"
        parameters = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**parameters, **changes}, sort_keys=False))

    def environment(self) -> dict[str, str]:
        """Return the environment of the stages: one thread, and the copy's own store for runs."""
        environment = {**stage_environment(), "OMP_NUM_THREADS": "1", "TERM": "dumb"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        environment.pop("CASCADE_TRACKING", None)
        return environment


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the tests of the run: they take longest."""
    items.sort(key=lambda item: "workflow" not in getattr(item, "fixturenames", ()))


def copy_of_repository(target: Path) -> Workflow:
    """Copy the tracked and the uncommitted files into a new repository; results of earlier runs stay behind.

    The copy sets an author, without whom `dvc exp` cannot commit.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source = REPOSITORY / name
        if source.is_file() and name != RUN_RECORD:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    settings = {"user.name": "test", "user.email": "test@localhost", "commit.gpgsign": "false"}
    commands: list[tuple[str, ...]] = [
        ("init", "-q"),
        *(("config", *setting) for setting in settings.items()),
    ]
    for command in (*commands, ("add", "-A"), ("commit", "-q", "-m", "a clone")):
        subprocess.run(["git", *command], cwd=target, check=True, capture_output=True)
    return Workflow(target)


def copy_of_store(workflow: Workflow, folder: Path) -> Path:
    """Copy the workflow's MLflow store with its files, for one test alone; return its sqlite file."""
    shutil.copytree(workflow.root / "mlruns", folder / "mlruns")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlruns/mlflow.db")
        file, changed = relocate()
    assert changed
    return file


@pytest.fixture(scope="session")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Run the stages, side by side, in a fresh copy of the repository, at a few training iterations."""
    fresh = copy_of_repository(tmp_path_factory.mktemp("workflow") / "project")
    fresh.set_parameters(overrides=FEW_ITERATIONS)
    return Workflow(fresh.root, fresh.run("--pull", "--jobs=2"))
