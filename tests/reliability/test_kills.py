"""Trainings killed at every file operation and at random times: the next call ends as if nothing had happened.

Run with: pytest -m reliability tests/reliability --capture=no
"""

import random
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cascade_core.checkpoints.checkpoint import load_segmentor
from cascade_core.checkpoints.manifest import load_manifest
from components.launching import processes as launch
from components.steps import self_train, train
from components.training.resume_checkpoints import newest_checkpoint
from tests.components.conftest import SHORT, Folders, folders
from tests.reliability import forks

pytestmark = pytest.mark.reliability

__all__ = ["folders"]  # a fixture

CASES: dict[str, tuple[dict[str, Any], str | None, int]] = {
    "zegclip": ({"recipe": "mini_zegclip"}, None, 1),
    "zegclip over an earlier training": ({"recipe": "mini_zegclip"}, None, 1),
    "cascade_clip": ({"recipe": "mini_cascade_clip"}, None, 1),
    "oracle": ({}, "oracle", 1),
    "strict": ({}, "strict", 1),
    "bf16": ({"recipe": "mini_zegclip", "train.precision": "bf16"}, None, 1),
    "accumulation": ({"recipe": "mini_zegclip", "train.accumulation_steps": 2}, None, 1),
    "workers": ({"recipe": "mini_zegclip", "train.workers": 2}, None, 1),
    "two processes": ({"recipe": "mini_zegclip"}, None, 2),
}
EVERY_OPERATION = ("zegclip", "zegclip over an earlier training", "cascade_clip")
LATEST_SECONDS = 14.0
"""Time in which two processes start and train on a quiet machine."""
KILLS = 12
"""Kills of a case that is not killed at every file operation, half at operations and half at random times."""


def _work(folders: Folders, case: str, trained: Path, out: Path) -> Callable[[], object]:
    changes, mode, processes = CASES[case]
    overrides = {**SHORT, "self_train.iterations": 4, "self_train.start_iteration": 2}
    overrides |= {key: value for key, value in changes.items() if key != "recipe"}
    if mode is not None:
        arguments = {
            **folders.steps,
            "trained": trained,
            "mode": mode,
            "overrides": {"self_train.iterations": 6},
            "out": out,
        }
        return partial(self_train.run, **arguments)
    arguments = {**folders.steps, "clip": folders.clip, "recipe": changes["recipe"], "seed": 0}
    arguments |= {"overrides": overrides, "out": out}
    if processes > 1:
        return partial(launch.run, "train", arguments, processes=processes)
    return partial(train.run, **arguments)


@pytest.fixture(scope="module")
def trained(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an inductive training for self-training to start from."""
    out = tmp_path_factory.mktemp("trained") / "inductive"
    train.run(**folders.steps, clip=folders.clip, recipe="mini_zegclip", overrides=SHORT, seed=0, out=out)
    return out


def _content(out: Path) -> dict[str, Any]:
    """Give all tensors and tables of a training's folder, and the names beside it."""
    content: dict[str, Any] = {"beside": sorted(path.name for path in out.parent.iterdir())}
    for file in sorted(path for path in out.rglob("*") if path.is_file()):
        name = file.relative_to(out).as_posix()
        content[name] = load_file(file) if file.suffix == ".safetensors" else name
    content["history"] = (out / "history.csv").read_text()
    return content


def _check_same(content: dict[str, Any], whole: dict[str, Any]) -> None:
    assert (
        content.keys() == whole.keys()
        and content["beside"] == whole["beside"]
        and content["history"] == whole["history"]
    )
    for name, tensors in whole.items():
        if isinstance(tensors, dict):
            assert tensors.keys() == content[name].keys()
            assert all(torch.equal(tensor, content[name][key]) for key, tensor in tensors.items()), name


def _unfinished_step(out: Path) -> int | str:
    """Say where the next training starts: finished, at a step, or anew."""
    unfinished = out.with_name(f".{out.name}.unfinished")
    if out.exists() and not unfinished.exists():
        return "finished"
    if (unfinished / "final").exists():
        return "swap"
    checkpoint = newest_checkpoint(unfinished) if unfinished.exists() else None
    return 0 if checkpoint is None else load_manifest(checkpoint).iteration


@pytest.mark.parametrize("case", CASES)
def test_a_killed_training_ends_as_if_it_had_not(
    folders: Folders, trained: Path, tmp_path: Path, case: str
) -> None:
    whole = tmp_path / "whole" / "out"
    count = forks.operations(
        _work(folders, case, trained, whole), below=whole.parent, count_file=tmp_path / "count"
    )
    expected = _content(whole)
    chance = random.Random(0)
    if case in EVERY_OPERATION:
        moments: list[tuple[int | None, float | None]] = [(number, None) for number in range(count)]
    else:
        moments = [(number, None) for number in chance.sample(range(count), min(KILLS // 2, count))]
    # Several processes start one by one, and do their file operations elsewhere: only times can be chosen.
    processes = CASES[case][2]
    random_kills, latest = (KILLS // 2, 3.0) if processes == 1 else (KILLS, LATEST_SECONDS)
    moments += [(None, chance.uniform(0.2 * processes, latest)) for _ in range(random_kills)]
    starts: Counter[int | str] = Counter()
    for number, (kill_at, after) in enumerate(moments):
        out = tmp_path / str(number) / "out"
        work = _work(folders, case, trained, out)
        if "earlier" in case:
            shutil.copytree(trained, out)
        code = forks.run(work, kill_at=kill_at, after=after, below=out.parent)
        assert code in (-9, 0), f"{case}, kill at {kill_at or after}: exit code {code}"
        if "earlier" in case:
            earlier = out if out.exists() else out.with_name(f".{out.name}.replaced")
            load_segmentor(earlier / "final")  # one whole training is there at every moment
        starts[_unfinished_step(out)] += 1
        assert forks.run(work, below=out.parent) == 0, f"{case}, kill at {kill_at or after}: the rerun failed"
        _check_same(_content(out), expected)
        shutil.rmtree(out.parent)
    print(f"\n{case}: {len(moments)} kills ({count} file operations); the rerun started at {dict(starts)}")
