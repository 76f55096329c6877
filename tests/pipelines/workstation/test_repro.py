"""What `cascade-clip run` does beyond `dvc repro`: stages run side by side, data stay as they are, and a changed label
file makes stages stale.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from cascade_core.runtime.exit_codes import ExitCode
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

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=self.root,
            env={**stage_environment(), "PYTHONPATH": str(ROOT), "TERM": "dumb"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def call(self, *words: str, status: int = 0) -> str:
        with self.start(*words) as process:
            log = process.communicate()[0]
        assert process.returncode == status, log
        return log

    def run(self, *words: str) -> tuple[list[str], str]:
        """Run the workflow, and give the stages that ran and all that it printed."""
        log = self.call("pipelines.workstation.repro", "--pull", *words)
        return [line.split("'")[1] for line in log.splitlines() if line.startswith("Running stage")], log


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder in which DVC tracks data."""
    folder = tmp_path_factory.mktemp("fresh")
    new = Project(folder)
    (folder / "data").mkdir()
    (folder / "data" / "raw").write_text("pictures")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    new.call("dvc", "init", "-q")
    new.call("dvc", "add", "-q", "data")
    return folder


@pytest.fixture
def project(tmp_path: Path, fresh: Path) -> Project:
    new = Project(tmp_path / "project")
    shutil.copytree(fresh, new.root)
    splits = {
        "cmd": "python split.py --protocol=${protocol}",
        "deps": ["split.py"],
        "outs": ["outputs/splits"],
    }
    text = {"cmd": "mkdir -p outputs; echo --protocol=${protocol} > outputs/text", "outs": ["outputs/text"], "deps": ["data/raw"]}  # fmt: skip
    rest = {"cmd": "cat outputs/splits/split.json outputs/text > outputs/rest", "deps": ["outputs/splits", "outputs/text"], "outs": ["outputs/rest"]}  # fmt: skip
    stages = {"splits": splits, "text_vectors": text, "rest": rest}
    (new.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (new.root / "params.yaml").write_text("protocol: own.yaml\n")
    (new.root / "own.yaml").write_text(LABELS.format("bee"))
    (new.root / "split.py").write_text(SPLIT)
    return new


def test_a_changed_label_file_is_noticed(project: Project) -> None:
    stages, log = project.run()
    assert stages == ["text_vectors", "splits", "rest"]
    assert "pull" not in log, "there is no remote to pull from"
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


# Each of two stages writes a file and waits for that of the other.
MEETING = "for i in $(seq 300); do [ -e {0} ] && break; sleep 0.1; done; test -e {0}"


@pytest.fixture
def pair(tmp_path: Path, fresh: Path) -> Project:
    """Give a project of two stages that do not need each other, and a third that needs both."""
    new = Project(tmp_path / "project")
    shutil.copytree(fresh, new.root)
    stages = {
        name: {
            "cmd": f"echo met > outputs/{name}; echo line of {name}; " + MEETING.format(f"outputs/{other}"),
            "deps": ["params.yaml"],
            "outs": [f"outputs/{name}"],
        }
        for name, other in (("left", "right"), ("right", "left"))
    }
    both = {"cmd": "cat outputs/left outputs/right > outputs/both", "deps": ["outputs/left", "outputs/right"], "outs": ["outputs/both"]}  # fmt: skip
    (new.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {**stages, "both": both}}))
    (new.root / "params.yaml").write_text("protocol: mini-18-6\n")
    (new.root / "outputs").mkdir()
    return new


def _lock(project: Project) -> dict[str, dict[str, object]]:
    """Return what DVC's lock holds, by kind."""
    held: dict[str, dict[str, object]] = json.loads((project.root / ".dvc/tmp/rwlock").read_text())
    return held


def test_stages_meet_and_their_lines_are_labelled(pair: Project) -> None:
    stages, log = pair.run("--jobs=2")
    assert (set(stages[:2]), stages[2:]) == ({"left", "right"}, ["both"])
    assert {"left  | line of left", "right | line of right"} <= {*log.splitlines()}
    assert not any(_lock(pair).values())
    assert "Data and pipelines are up to date" in pair.call("dvc", "repro")


def test_a_stage_that_fails_is_named_and_the_other_is_recorded(pair: Project) -> None:
    path = pair.root / "dvc.yaml"
    workflow = path.read_text()
    left = "echo met > outputs/left; " + MEETING.format("outputs/right") + "; exit 3"
    broken = yaml.safe_load(workflow)
    broken["stages"]["left"]["cmd"] = left
    path.write_text(yaml.safe_dump(broken))
    log = pair.call("pipelines.workstation.repro", "--jobs=2", status=255)
    assert f"ERROR: failed to reproduce 'left': failed to run: {left}, exited with 3" in log
    assert "Running stage 'both'" not in log
    path.write_text(workflow)
    assert pair.run("--jobs=1")[0] == ["left", "both"]


def test_an_interrupt_ends_all_stages_and_the_next_start_goes_on(pair: Project) -> None:
    path = pair.root / "dvc.yaml"
    workflow = path.read_text()
    endless = yaml.safe_load(workflow)
    for name in ("left", "right"):
        endless["stages"][name]["cmd"] += (
            f"; trap 'echo saved {name}; exit 1' INT; echo ready; sleep 60 > /dev/null 2>&1 & wait"
        )
    path.write_text(yaml.safe_dump(endless))
    with pair.start("pipelines.workstation.repro", "--jobs=2") as process:
        assert process.stdout is not None
        lines: list[str] = []
        while sum(line.endswith("| ready\n") for line in lines) < 2:
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        os.killpg(process.pid, signal.SIGINT)
        lines += process.stdout.readlines()
    assert process.returncode == ExitCode.INTERRUPTED
    assert {"left  | saved left\n", "right | saved right\n"} <= {*lines}
    assert not any(_lock(pair).values())
    path.write_text(workflow)
    assert len(pair.run("--jobs=2")[0]) == 3
