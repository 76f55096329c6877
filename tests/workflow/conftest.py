"""The whole workflow run once through DVC, for real but at a few iterations, in a copy of the repository."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from pipelines.workstation.workflow import stage_environment

REPOSITORY = Path(__file__).parents[2]
LEFT_BY_A_RUN = "dvc.lock"

FEW_ITERATIONS = {
    "train": {"iterations": 4, "batch_size": 4},
    "self_train": {"iterations": 2, "batch_size": 4, "start_iteration": 2},
}


@dataclass(frozen=True)
class Workflow:
    """A copy of the repository in which the workflow has run; `log` is what that printed."""

    root: Path
    log: str = ""

    def dvc(self, *arguments: str) -> str:
        """Run dvc in it and return what it prints; a failure fails the test, with the output."""
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"dvc {' '.join(arguments)}:\n{done.stdout}"
        return done.stdout

    def set_parameters(self, **changes: object) -> None:
        """Put values into params.yaml, whole sections at a time."""
        path = self.root / "params.yaml"
        parameters = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**parameters, **changes}, sort_keys=False))

    def environment(self) -> dict[str, str]:
        """Give the environment of its stages: one thread, and its own store for runs."""
        environment = {**stage_environment(), "OMP_NUM_THREADS": "1", "TERM": "dumb"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        environment.pop("CASCADE_TRACKING", None)
        return environment


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests of the run: they take longest."""
    items.sort(key=lambda item: "workflow" not in getattr(item, "fixturenames", ()))


def copy_of_repository(target: Path) -> Workflow:
    """Copy what a clone of the present state would hold, uncommitted files included, as a fresh repository.

    What a run of the workflow left beside the sources does not come along: no clone has it. The copy has an
    author of its own, without whom `dvc exp` makes no commit.
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
        if source.is_file() and name != LEFT_BY_A_RUN:
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


@pytest.fixture(scope="session")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Give a fresh copy of the repository after `dvc repro --pull` at a few training iterations."""
    fresh = copy_of_repository(tmp_path_factory.mktemp("workflow") / "project")
    fresh.set_parameters(overrides=FEW_ITERATIONS)
    return Workflow(fresh.root, fresh.dvc("repro", "--pull"))
