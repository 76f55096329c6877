"""What `cascade-clip run` does beyond `dvc repro`: data stay as they are, and a changed label file makes stages stale."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from pipelines.workstation.workflow import stage_environment

ROOT = Path(__file__).parents[3]
LABELS = "name: own\nclasses: [zebra, {}]\n"
# Stands for the splits step: its output holds the label file that it read.
SPLIT = """
import json, pathlib, sys
from cascade_core.labels.label_file import read_label_file
path = pathlib.Path("outputs/splits/split.json"); path.parent.mkdir(parents=True)
own = read_label_file(pathlib.Path(sys.argv[1].partition("=")[2])).model_dump(mode="json")
path.write_text(json.dumps({"own": own}))
"""


@dataclass(frozen=True)
class Project:
    """A DVC project with stages of one line."""

    root: Path

    def call(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=self.root,
            env={**stage_environment(), "PYTHONPATH": str(ROOT), "TERM": "dumb"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def run(self, *words: str) -> tuple[list[str], str]:
        """Run the workflow, and give the stages that ran and all that it printed."""
        log = self.call("pipelines.workstation.repro", "--pull", *words)
        return [line.split("'")[1] for line in log.splitlines() if line.startswith("Running stage")], log


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    splits = {
        "cmd": "python split.py --protocol=${protocol}",
        "deps": ["split.py"],
        "outs": ["outputs/splits"],
    }
    text = {"cmd": "mkdir -p outputs; echo --protocol=${protocol} > outputs/text", "outs": ["outputs/text"], "deps": ["data/raw"]}  # fmt: skip
    rest = {"cmd": "cat outputs/splits/split.json outputs/text > outputs/rest", "deps": ["outputs/splits", "outputs/text"], "outs": ["outputs/rest"]}  # fmt: skip
    stages = {"splits": splits, "text_vectors": text, "rest": rest}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (tmp_path / "params.yaml").write_text("protocol: own.yaml\n")
    (tmp_path / "own.yaml").write_text(LABELS.format("bee"))
    (tmp_path / "split.py").write_text(SPLIT)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "raw").write_text("pictures")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    made.call("dvc", "init", "-q")
    made.call("dvc", "add", "-q", "data")
    return made


def test_a_changed_label_file_is_noticed(project: Project) -> None:
    stages, _ = project.run()
    assert stages == ["text_vectors", "splits", "rest"]
    assert project.run()[0] == []
    (project.root / "own.yaml").write_text(LABELS.format("bee") + "background: {id: 0}\n")
    assert project.run()[0] == ["text_vectors", "splits", "rest"]
    assert json.loads((project.root / "outputs/splits/split.json").read_text())["own"]["background"]
    assert project.run("rest")[0] == []


def test_data_of_nobody_s_are_neither_recorded_nor_removed(project: Project) -> None:
    project.run()
    recorded = (project.root / "data.dvc").read_bytes()
    (project.root / "data" / "imported").write_text("weights")
    (project.root / "data" / "raw").write_text("other pictures")
    stages, log = project.run()
    assert stages == ["text_vectors"]  # whose output stays the same
    assert "data differs from what data.dvc records (files added, modified)" in log
    assert (project.root / "data.dvc").read_bytes() == recorded
    assert (project.root / "data" / "imported").read_text() == "weights"


def test_files_that_an_interrupted_pull_left_out_are_pulled(project: Project) -> None:
    (project.root / "data" / "raw").unlink()
    (project.root / "store").mkdir()
    project.call("dvc", "remote", "add", "--local", "-d", "store", "store")
    assert project.run()[0] == ["text_vectors", "splits", "rest"]
    assert (project.root / "data" / "raw").read_text() == "pictures"
