"""DVC with an S3 remote: a clone is up to date, and an edited label map reruns the stages that read it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from cascade_core.mini.voc_layout import write_benchmark
from cascade_core.runtime.files import read_json
from components.tracking.store import open_store
from pipelines.workstation.workflow import stage_environment
from tests.components.moto_server import object_store
from tests.tiny import write_tiny_clip
from tests.workflow.conftest import REPOSITORY

GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
STAGES = ("prepare", "splits", "text_vectors")
TO_S3 = ("remote", "add", "--local", "--default", "s3", "s3://bucket/dvc")
"""docs/storage.md gives this command."""

PROGRAM = """
import json, sys
from dvc.cli import main
for command in json.loads(sys.argv[1]):
    code = main(command)
    assert code == 0, f"dvc {' '.join(command)}: exit {code}"
"""


@dataclass(frozen=True)
class Project:
    """A project with the first stages of this repository's dvc.yaml, on five pictures."""

    root: Path

    def dvc(self, *commands: tuple[str, ...]) -> str:
        """Run dvc's commands in one process, which saves imports, and return their output."""
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps(commands)],
            cwd=self.root,
            env={**stage_environment(), "PYTHONPATH": str(REPOSITORY), "TERM": "dumb"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def git(self, *arguments: str) -> None:
        subprocess.run([*GIT, *arguments], cwd=self.root, check=True, capture_output=True)

    @property
    def data_hash(self) -> str:
        return str(read_json(self.root / "outputs/prepared/manifest.json")["inputs"]["raw"]["sha256"])


def _stages(log: str) -> set[str]:
    return {line.split("'")[1] for line in log.splitlines() if line.startswith("Running stage")}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Clone a project that was run, pushed to S3 and committed elsewhere."""
    with pytest.MonkeyPatch.context() as patch, object_store(patch):
        first = Project(tmp_path_factory.mktemp("first"))
        for package in ("cascade_core", "components"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / package, first.root / package, ignore=ignored)
        workflow = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())
        stages = {name: workflow["stages"][name] for name in STAGES}
        (first.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
        for name in ("params.yaml", ".dvcignore"):
            shutil.copyfile(REPOSITORY / name, first.root / name)
        write_benchmark(first.root / "data" / "mini", sizes={"train": 3, "val": 1, "test": 1, "test2": 1})
        write_tiny_clip(first.root / "data" / "mini" / "clip")
        (first.root / ".gitignore").write_text("/outputs/\n/data\n")
        first.git("init", "-q")
        log = first.dvc(("init", "-q"), ("add", "-q", "data"), ("repro",), TO_S3, ("push",))
        assert _stages(log) == set(STAGES)
        first.git("add", "-A")
        first.git("commit", "-q", "-m", "run")
        second = Project(tmp_path_factory.mktemp("second") / "clone")
        subprocess.run(["git", "clone", "-q", first.root, second.root], check=True, capture_output=True)
        second.dvc(TO_S3, ("pull", "-q"))
        yield second


def test_a_clone_that_pulled_from_s3_has_nothing_to_do(clone: Project) -> None:
    assert (clone.root / "outputs/text/class_vectors.safetensors").is_file()
    log = clone.dvc(("repro",))
    assert _stages(log) == set()
    assert "up to date" in log


def test_no_config_file_holds_a_secret(clone: Project) -> None:
    settings = [path.read_text() for path in (clone.root / ".dvc").glob("config*")]
    assert any("s3://bucket/dvc" in one for one in settings)
    assert not any("secret" in one or "127.0.0.1" in one for one in settings)


@pytest.mark.slow
def test_an_edited_label_map_changes_the_data_hash_everywhere(
    clone: Project, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = clone.data_hash
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}/mlruns/mlflow.db")
    path = min((clone.root / "data/mini/VOCdevkit/VOC2012/SegmentationClass").glob("train_*.png"))
    labels = Image.open(path)
    ids = np.array(labels)
    ids[0, 0] = 1 if ids[0, 0] != 1 else 2
    edited = Image.fromarray(ids, mode="P")
    edited.putpalette(labels.getpalette())
    path.unlink()  # it may be a link to DVC's cache
    edited.save(path)
    assert _stages(clone.dvc(("add", "-q", "data"), ("repro",))) == {"prepare", "splits"}
    assert clone.data_hash != before
    client = open_store()
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert {run.data.tags["step"] for run in runs} == {"prepare", "splits"}
    assert {run.data.tags["data_hash"] for run in runs} == {clone.data_hash}
    digests = {one.dataset.digest for run in runs for one in run.inputs.dataset_inputs}
    assert digests == {clone.data_hash[:36]}
