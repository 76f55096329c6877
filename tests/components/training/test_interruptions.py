"""An interrupted training: what a signal saves, what a damaged checkpoint costs, and who may write the folder."""

import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cascade_core.checkpoints.manifest import load_manifest
from components.progress import Progress
from components.servers.patience import PATIENCE_VARIABLE
from components.storage.lease import FolderInUseError, leased
from components.training.resume_checkpoints import NEWEST
from tests.components.conftest import SHORT, Folders, interrupt_after
from tests.components.same_training import check_same_training
from tests.components.storage.test_lease import supersede
from tests.components.training.test_fit import trained

UNEVEN = {**SHORT, "train.iterations": 7, "train.checkpoint_every": 2, "train.log_every": 3}


@pytest.fixture(scope="module")
def whole(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a training that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out"
    trained(folders, out, overrides=UNEVEN)
    return out


def _send_after(step: int, number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process a signal while it shows the progress of a step."""
    advance = Progress.advance

    def send(self: Progress, done: int, text: str = "", **more: Any) -> None:
        advance(self, done, text, **more)
        if done == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Progress, "advance", send)


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_loses_at_most_the_next_step(
    folders: Folders,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    raised: type[BaseException],
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        _send_after(4, number, patch)
        with pytest.raises(raised):
            trained(folders, out, overrides=UNEVEN)
    # The signal came after step 4 was reported, so step 5 is the one that runs.
    assert load_manifest(tmp_path / ".out.unfinished" / NEWEST).iteration == 5
    trained(folders, out, overrides=UNEVEN)
    check_same_training(whole, out)


@pytest.mark.parametrize("step", [2, 3, 5])
def test_history_is_exact_after_a_resume_between_rows(
    folders: Folders, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        interrupt_after(step, patch)
        with pytest.raises(KeyboardInterrupt):
            trained(folders, out, overrides=UNEVEN)
    trained(folders, out, overrides=UNEVEN)
    check_same_training(whole, out)


def test_a_damaged_checkpoint_falls_back(
    folders: Folders,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        interrupt_after(5, patch)
        with pytest.raises(KeyboardInterrupt):
            trained(folders, out, overrides=UNEVEN)
    damaged = tmp_path / ".out.unfinished" / NEWEST / "optimizer.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-5] ^= 1
    damaged.write_bytes(content)
    trained(folders, out, overrides=UNEVEN)
    assert "optimizer.safetensors is damaged" in caplog.text and "at step 2 of 7" in caplog.text
    check_same_training(whole, out)


def test_leftovers_of_a_kill_are_not_published(folders: Folders, whole: Path, tmp_path: Path) -> None:
    out, unfinished = tmp_path / "out", tmp_path / ".out.unfinished"
    for name in (".final.abc", ".half.abc", ".resume.partial", ".resume.dropped"):
        (unfinished / name).mkdir(parents=True)
        (unfinished / name / "model.safetensors").write_text("half")
    trained(folders, out, overrides=UNEVEN)
    check_same_training(whole, out)


def _fail(*_: Any, **__: Any) -> None:
    raise AssertionError("a step was trained")


def test_a_waiting_training_of_a_pipeline_takes_the_result(
    folders: Folders, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, "60")
    out = tmp_path / "out"
    other = leased(out)
    with ThreadPoolExecutor() as pool:
        other.__enter__()
        waiting = pool.submit(trained, folders, out, overrides=UNEVEN)
        time.sleep(1.5)
        shutil.copytree(whole, out)  # what the other training publishes before it releases the lease
        with monkeypatch.context() as patch:
            patch.setattr("cascade_core.train.loop.set_learning_rates", _fail)
            other.__exit__(None, None, None)
            waiting.result(timeout=60)
    check_same_training(whole, out)


@pytest.mark.parametrize(
    ("lost_at", "saved"), [(3, 2), (7, 6)], ids=["before a checkpoint", "before the end"]
)
def test_a_superseded_training_writes_nothing_more(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost_at: int, saved: int
) -> None:
    advance = Progress.advance

    def lose(self: Progress, done: int, text: str = "", **more: Any) -> None:
        advance(self, done, text, **more)
        if done == lost_at:
            supersede(tmp_path / "out")

    monkeypatch.setattr(Progress, "advance", lose)
    with pytest.raises(FolderInUseError, match="another training took this folder over"):
        trained(folders, tmp_path / "out", overrides=UNEVEN)
    unfinished = tmp_path / ".out.unfinished"
    assert load_manifest(unfinished / NEWEST).iteration == saved
    assert not (unfinished / "final").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.lease", ".out.unfinished"]


def test_a_second_training_into_one_folder_is_refused(folders: Folders, tmp_path: Path) -> None:
    with leased(tmp_path / "out"), pytest.raises(FolderInUseError, match="out is in use"):
        trained(folders, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
