"""Trainings killed at every file operation and at random times: the next call ends as if nothing had happened.

Run with: pytest -m reliability tests/reliability --capture=no
"""

import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cascade_core.checkpoints.checkpoint import load_segmentor
from cascade_core.checkpoints.manifest import load_manifest
from cascade_core.errors import UserError
from components.launching import processes as launch
from components.steps import self_train, train
from components.training.resume_checkpoints import NEWEST, newest_checkpoint
from tests.components.conftest import SHORT, Folders, folders
from tests.components.same_training import check_same_tensors, check_same_training
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
LONG = {"train.iterations": 60, "self_train.iterations": 60, "train.checkpoint_every": 10}
LAST_CHECKPOINT = 50
LATEST_SECONDS = 14.0
"""Time in which two processes start and train on a quiet machine."""
KILLS = 12
"""Kills of a case that is not killed at every file operation, half at operations and half at random times."""
KILLED_TWICE = {1: 1, 2: 5}
"""Trainings that are killed at a random time and at their last checkpoint, by their number of processes."""


def _work(
    folders: Folders, case: str, trained: Path, out: Path, length: Mapping[str, int] | None = None
) -> Callable[[], object]:
    changes, mode, processes = CASES[case]
    overrides = {**SHORT, "self_train.iterations": 6, **(length or {})}
    overrides |= {key: value for key, value in changes.items() if key != "recipe"}
    if mode is not None:
        arguments = {
            **folders.steps,
            "trained": trained,
            "mode": mode,
            "overrides": {key: overrides[key] for key in LONG},
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
        check_same_training(whole, out)
        shutil.rmtree(out.parent)
    print(f"\n{case}: {len(moments)} kills ({count} file operations); the rerun started at {dict(starts)}")


def _saved_step(out: Path) -> int:
    """Return the step of the newest checkpoint of an unfinished training; 0 without one."""
    try:
        return load_manifest(out.with_name(f".{out.name}.unfinished") / NEWEST).iteration
    except (OSError, UserError):  # a rename is under way
        return 0


@pytest.mark.parametrize("case", [case for case in CASES if "earlier" not in case])
def test_a_killed_training_restores_its_optimiser(
    folders: Folders, trained: Path, tmp_path: Path, case: str
) -> None:
    whole, expected = tmp_path / "whole" / "out", tmp_path / "expected"

    def copied() -> bool:
        """Copy the last checkpoint as soon as it is there, and never ask for a kill."""
        if not expected.exists() and _saved_step(whole) == LAST_CHECKPOINT:
            shutil.copytree(whole.with_name(".out.unfinished") / NEWEST, expected)
        return False

    def run(out: Path, when: Callable[[], bool], after: float) -> int:
        work = _work(folders, case, trained, out, LONG)
        return forks.run(work, when=when, after=after, below=out.parent)

    assert run(whole, copied, 0) == 0
    chance, starts = random.Random(1), Counter[int]()
    for number in range(KILLED_TWICE[CASES[case][2]]):
        out = tmp_path / str(number) / "out"
        step = chance.randrange(10, LAST_CHECKPOINT, 10)
        for least, after in ((step, chance.uniform(0, 0.4)), (LAST_CHECKPOINT, 0.0)):
            assert run(out, lambda least=least, out=out: _saved_step(out) >= least, after) == -signal.SIGKILL
            starts[_saved_step(out)] += 1
        last = out.with_name(".out.unfinished") / NEWEST
        for file in ("optimizer.safetensors", "model.safetensors"):
            check_same_tensors(expected / file, last / file)
        assert run(out, lambda: False, 0) == 0
        check_same_training(whole, out)
    print(f"\n{case}: {starts.total()} kills; the reruns started at steps {dict(sorted(starts.items()))}")
