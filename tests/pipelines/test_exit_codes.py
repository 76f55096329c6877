"""Exit codes of a command: user error, defect, incomplete work, signal."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from torch.utils.data import DataLoader, Dataset
from typer.testing import CliRunner, Result

from cascade_core.errors import UserError
from cascade_core.runtime.exit_codes import ExitCode
from components.steps import splits
from pipelines.cli.app import app
from tests.cli_commands import command_at


def ended_by(monkeypatch: pytest.MonkeyPatch, error: BaseException, *flags: str) -> Result:
    """Give the result of a command whose step raises `error`."""

    def fail(*_: Any, **__: Any) -> None:
        raise error

    command_at("splits")  # made of the function before it is replaced
    monkeypatch.setattr(splits.run, "function", fail)
    words = ["splits", "--prepared", ".", "--protocol", "mini-18-6", "--out", "o"]
    return CliRunner().invoke(app, [*flags, *words])


class Broken(Dataset[int]):
    """A data set whose picture cannot be read."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, position: int) -> int:
        raise UserError("a.jpg: cannot be decoded")


class Numbered(BaseModel):
    """Something that a value may not fit."""

    number: int


def invalid() -> ValueError:
    with pytest.raises(ValueError, match="number") as raised:
        Numbered.model_validate({"number": "x"})
    return raised.value


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UserError("give a number"), "give a number"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.yaml"), "a.yaml: No such file; check the path"),
        (OSError(errno.ENOSPC, "No space left", "out/a"), "no space left for out/a; "),
        (
            PermissionError(errno.EACCES, "Permission denied", "o"),
            "o: Permission denied; check its permissions",
        ),
    ],
)
def test_a_user_error_is_one_sentence_and_2(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, sentence: str
) -> None:
    done = ended_by(monkeypatch, error)
    assert done.exit_code == ExitCode.USER_ERROR == 2
    assert done.stderr.startswith(f"error: {sentence}")
    assert done.stderr.count("\n") == 1


def test_an_error_of_a_loader_process_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="DataLoader worker") as raised:
        next(iter(DataLoader(Broken(), num_workers=1)))
    done = ended_by(monkeypatch, raised.value)
    assert (done.exit_code, done.stderr) == (ExitCode.USER_ERROR, "error: a.jpg: cannot be decoded\n")


def test_verbose_adds_the_trace_and_leaves_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    done = ended_by(monkeypatch, UserError("give a number"), "--verbose")
    assert done.exit_code == ExitCode.USER_ERROR
    assert "Traceback" in done.stderr and done.stderr.endswith("error: give a number\n")


@pytest.mark.parametrize(
    "error",
    [ValueError("shapes differ"), KeyError("x"), invalid(), UnicodeError("x"), OSError("no file")],
    ids=lambda error: type(error).__name__,
)
def test_a_defect_keeps_its_trace_and_is_1(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    done = ended_by(monkeypatch, error)
    assert done.exit_code == ExitCode.DEFECT == 1
    assert done.exception is error


def test_an_interruption_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended_by(monkeypatch, KeyboardInterrupt()).exit_code == ExitCode.INTERRUPTED == 130


WAITING = """
import signal, sys, time
from pathlib import Path
from components.steps import splits
from pipelines.cli.app import app

# A shell that starts a job in the background has SIGINT ignored, which children inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


def wait(call, **_):
    try:
        print("waiting", flush=True)
        time.sleep(60)
    finally:
        Path("cleared").touch()

assert splits.run.parameters  # read from the function before it is replaced
splits.run.function = wait
sys.argv = ["cascade-clip", "splits", "--prepared", ".", "--protocol", "mini-18-6", "--out", "o"]
app()
"""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, ExitCode.TERMINATED), (signal.SIGINT, ExitCode.INTERRUPTED)]
)
def test_a_signal_stops_a_command_which_clears_up(
    tmp_path: Path, number: signal.Signals, status: ExitCode
) -> None:
    started = subprocess.Popen(
        [sys.executable, "-c", WAITING],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "waiting\n"
    time.sleep(0.1)
    started.send_signal(number)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == status, errors
    assert "Traceback" not in errors
    assert (tmp_path / "cleared").exists()
