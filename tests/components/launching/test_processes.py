"""Steps in two processes over gloo on the loopback interface, started by torchrun's agent."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.launcher.api import elastic_launch

from cascade_core.batches.sampling import iteration_batches
from cascade_core.checkpoints.checkpoint import load_manifest
from cascade_core.data.prepared import data_root, read_index
from components.launching import processes as launch
from components.results.picture_files import read_kept, read_pictures
from components.steps import evaluate, self_train, train
from components.training.resume_checkpoints import NEWEST
from tests.components.conftest import RECIPE, SHORT, Folders, interrupt_after

SEED = 0
FOUR = {**SHORT, "train.batch_size": 4, "train.checkpoint_every": 1, "evaluate.batch_size": 1}


def train_arguments(folders: Folders, out: Path, **overrides: Any) -> dict[str, Any]:
    return {
        **folders.steps,
        "clip": folders.clip,
        "recipe": RECIPE,
        "overrides": {**FOUR, **overrides},
        "seed": SEED,
        "out": out,
    }


def assert_same_training(one: Path, two: Path) -> None:
    """Check that loss curves agree within 1e-4, and weights within a thousandth of their norm.

    Single weights may differ more: AdamW scales gradients that are only rounding errors (key biases under a softmax)
    up to whole steps.
    """
    curves = [pd.read_csv(folder / "history.csv") for folder in (one, two)]
    pd.testing.assert_frame_equal(*curves, atol=1e-4, rtol=0)
    first, second = (load_file(folder / "final/model.safetensors") for folder in (one, two))
    assert first.keys() == second.keys()
    trained = [name for name in first if not name.startswith(("trunk.visual.", "decoder.mid."))]
    norm, distance = (
        torch.nn.utils.get_total_norm(tensors)
        for tensors in ([first[name] for name in trained], [first[name] - second[name] for name in trained])
    )
    assert distance < 1e-3 * norm


@pytest.fixture(scope="module")
def single(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train in one process."""
    out = tmp_path_factory.mktemp("single") / "trained"
    train.run(**train_arguments(folders, out))
    return out


@pytest.fixture(scope="module")
def double(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train in two processes at the same global batch."""
    out = tmp_path_factory.mktemp("double") / "trained"
    done = launch.run("train", train_arguments(folders, out), processes=2)
    assert done == train.Trained(final=out / "final", half=out / "half")
    return out


def test_two_processes_train_to_the_loss_curve_of_one(single: Path, double: Path) -> None:
    assert_same_training(single, double)


def test_two_processes_leave_the_files_of_one(single: Path, double: Path) -> None:
    files = [{path.relative_to(root) for path in root.parent.rglob("*")} for root in (single, double)]
    assert files[0] == files[1]


def test_steps_of_another_user_can_read_every_file(folders: Folders, double: Path) -> None:
    written = [path for root in (double, folders.clip, folders.text) for path in root.rglob("*")]
    assert any(path.suffix == ".safetensors" for path in written)
    assert [path for path in written if not path.stat().st_mode & 0o004] == []


def test_two_processes_save_dead_weights_unchanged(double: Path) -> None:
    half, final = (load_file(double / name / "model.safetensors") for name in ("half", "final"))
    dead = [name for name in final if "unused_" in name]
    assert dead
    assert all(torch.equal(half[name], final[name]) for name in dead)


@pytest.mark.parametrize(
    "overrides",
    [
        {"train.accumulation_steps": 2},
        pytest.param(
            {"loss.kind": "cross_entropy", "train.supervision": "full", "data.resize_range": [0.3, 0.6]},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"loss.distil_weight": 10.0, "train.accumulation_steps": 2, "data.resize_range": [0.3, 0.6]},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["accumulating", "cross-entropy with unevenly labelled parts", "distilling into uneven parts"],
)
def test_two_processes_train_as_one_with_options(
    folders: Folders, tmp_path: Path, overrides: dict[str, Any]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    train.run(**train_arguments(folders, one, **overrides))
    handlers = [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]
    launch.run("train", train_arguments(folders, two, **overrides), processes=2)
    assert [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert_same_training(one, two)


def test_two_processes_self_train_as_one(folders: Folders, single: Path, tmp_path: Path) -> None:
    arguments = {**folders.steps, "trained": single, "mode": "oracle", "overrides": {}}
    one, two = tmp_path / "one", tmp_path / "two"
    launch.run("self_train", {**arguments, "out": one}, processes=1)
    launch.run("self_train", {**arguments, "out": two}, processes=2)
    assert_same_training(one, two)


@pytest.mark.slow
def test_two_processes_go_on_with_the_averages_of_one(
    folders: Folders, single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"iterations": 4, "teacher": "ema", "ema_decay": 0.5, "extra_splits": ["val"]}
    overrides = {f"self_train.{name}": value for name, value in settings.items()}
    arguments = {**folders.steps, "trained": single, "mode": "strict", "overrides": overrides}
    one, two = tmp_path / "one", tmp_path / "two"
    self_train.run(**arguments, out=one)
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            self_train.run(**arguments, out=two)
    launch.run("self_train", {**arguments, "out": two}, processes=2)
    assert_same_training(one, two)


def _picture_first_read_at_step_three(folders: Folders) -> Path:
    """Return the picture that the second process first reads at step three; damaging it stops a training there."""
    batches = [
        [
            [position for position, _ in batch]
            for batch in iteration_batches(6, 2, iterations=3, seed=SEED, rank=rank, world_size=2)
        ]
        for rank in (0, 1)
    ]
    earlier = {position for batch in (*batches[0], *batches[1][:2]) for position in batch}
    (position,) = set(batches[1][2]) - earlier
    rows = read_index(folders.prepared).query("split == 'train'")
    return data_root(folders.prepared) / rows.iloc[position]["image"]


def test_a_failure_ends_all_and_one_process_can_resume(
    folders: Folders, single: Path, tmp_path: Path
) -> None:
    out, unfinished = tmp_path / "trained", tmp_path / ".trained.unfinished"
    picture = _picture_first_read_at_step_three(folders)
    whole = picture.read_bytes()
    try:
        picture.write_bytes(whole[:100])
        with pytest.raises(ValueError, match=picture.name):
            launch.run("train", train_arguments(folders, out), processes=2)
    finally:
        picture.write_bytes(whole)
    assert list(tmp_path.iterdir()) == [unfinished]
    assert load_manifest(unfinished / NEWEST).iteration == 2
    train.run(**train_arguments(folders, out))
    assert list(tmp_path.iterdir()) == [out]
    assert_same_training(single, out)


@pytest.mark.slow
def test_two_processes_finish_what_one_began(
    folders: Folders, single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "trained"
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            train.run(**train_arguments(folders, out))
    launch.run("train", train_arguments(folders, out), processes=2)
    assert_same_training(single, out)


def test_an_indivisible_batch_is_refused_with_the_numbers(folders: Folders, tmp_path: Path) -> None:
    message = r"train.batch_size=4.*not divisible by 3 \(3 processes x 1 accumulation steps\); set it to 6"
    with pytest.raises(ValueError, match=message):
        launch.run("train", train_arguments(folders, tmp_path / "out"), processes=3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("step", "processes", "message"),
    [("train", 0, "processes=0"), ("evaluate", 2, "step 'evaluate' does not train")],
)
def test_impossible_launches_are_refused(step: Any, processes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        launch.run(step, {}, processes=processes)


@pytest.mark.slow
def test_two_processes_count_what_one_counts(folders: Folders, single: Path, tmp_path: Path) -> None:
    arguments = {**folders.steps, "checkpoint": single / "final", "split": "val"}
    one, two = tmp_path / "one", tmp_path / "two"
    alone = evaluate.run(**arguments, out=one)
    together = elastic_launch(launch._configuration(2), launch._call_together)
    shared = together("evaluate", {**arguments, "out": two})
    assert shared == {0: alone, 1: alone}
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    for file in files:
        if file.name not in ("manifest.json", "predictions.zip"):
            assert (one / file).read_bytes() == (two / file).read_bytes(), file
    for picture in read_pictures(one).pictures:
        mine, theirs = (vars(read_kept(folder, picture.name)) for folder in (one, two))
        for part in mine:
            np.testing.assert_array_equal(mine[part], theirs[part])
