"""DVC's lock: that of a live process is named with the way out, that of a dead one does not block."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascade_core.errors import UserError
from pipelines.workstation import unfinished


@pytest.fixture
def other() -> Iterator[int]:
    """Give the number of a process that runs another program."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


def _locked_by(pid: int) -> Path:
    unfinished.DVC_LOCK.parent.mkdir(parents=True)
    holder = {"pid": pid, "cmd": "dvc repro"}
    held = {"write": {"/p/outputs": holder}, "read": {"/p/data": [holder]}}
    unfinished.DVC_LOCK.write_text(json.dumps(held))
    return unfinished.DVC_LOCK


def test_a_lock_older_than_its_holder_is_removed(
    other: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    lock = _locked_by(other)
    os.utime(lock, (1, 1))
    unfinished.free_dvc_lock()
    assert not lock.exists()
    assert f"DVC's lock of killed processes ({other}) is removed" in caplog.text


def test_a_live_holder_is_named_with_the_command(
    other: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lock = _locked_by(other)
    with pytest.raises(UserError, match=rf"process {other} holds DVC's lock .*ps -p {other}.* rm {lock}"):
        unfinished.free_dvc_lock()
    assert lock.exists()


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_without_a_holder_nothing_happens(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        unfinished.DVC_LOCK.parent.mkdir(parents=True)
        unfinished.DVC_LOCK.write_text(content)
    unfinished.free_dvc_lock()
    assert unfinished.DVC_LOCK.exists() == (content is not None)
