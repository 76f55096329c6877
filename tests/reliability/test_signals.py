"""A training on the command line that gets SIGTERM or Ctrl-C: it saves its step, leaves, and ends as if uninterrupted.

pytest -m reliability --capture=no tests/reliability/test_signals.py
"""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from cascade_core.checkpoints.manifest import load_manifest
from components.training.resume_checkpoints import NEWEST
from tests.components.conftest import Folders, folders
from tests.components.same_training import check_same_training

__all__ = ["folders"]  # a fixture

pytestmark = pytest.mark.reliability

PROGRAM = Path(sys.executable).parent / "cascade-clip"
STEPS, SIGNAL_AT = 60, 15
ENVIRONMENT = {**os.environ, "CASCADE_TRACKING": "off", "OMP_NUM_THREADS": "1", "TERM": "xterm"}
CTRL_C = b"\x03"


def _command(folders: Folders, out: Path, processes: int) -> list[str]:
    inputs = [f"--{name}={folder}" for name, folder in folders.steps.items()]
    settings = {
        "train.iterations": STEPS,
        "train.checkpoint_every": 1000,
        "train.log_every": 7,
        "train.batch_size": 2,
    }
    changes = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    arguments = ["train", "--recipe=mini_zegclip", f"--clip={folders.clip}", *inputs, *changes]
    return [str(PROGRAM), *arguments, f"--out={out}", f"--processes={processes}"]


class _Terminal:
    """A program in a terminal of its own, and what it shows there."""

    def __init__(self, command: list[str]) -> None:
        self.master, slave = pty.openpty()

        def enter() -> None:
            os.login_tty(slave)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job ignores it

        self.process = subprocess.Popen(command, env=ENVIRONMENT, preexec_fn=enter, pass_fds=[slave])
        os.close(slave)
        self.text = ""

    @property
    def step(self) -> int:
        """The last step that the progress bar shows."""
        steps = re.findall(rf"(\d+)/{STEPS}\b", self.text)
        return int(steps[-1]) if steps else 0

    def read(self) -> bool:
        """Read more of the text; return whether there was more."""
        part = b""
        with suppress(OSError):  # the terminal's end
            part = os.read(self.master, 4096)
        self.text += part.decode(errors="replace")
        return bool(part)

    def send(self, number: signal.Signals) -> None:
        """Press Ctrl-C, which reaches all processes of the terminal, or send the signal to the first one alone."""
        if number is signal.SIGINT:
            os.write(self.master, CTRL_C)
        else:
            self.process.send_signal(number)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_saves_the_running_step(
    folders: Folders, tmp_path: Path, number: signal.Signals, processes: int
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    subprocess.run(_command(folders, whole, processes), env=ENVIRONMENT, check=True, capture_output=True)
    terminal = _Terminal(_command(folders, out, processes))
    while terminal.step < SIGNAL_AT:
        assert terminal.read(), f"the training ended first: {terminal.text[-2000:]}"
    sent = time.monotonic()
    terminal.send(number)
    while terminal.read():
        pass
    code = terminal.process.wait(timeout=10)
    seconds = time.monotonic() - sent
    assert code == 128 + number, terminal.text
    assert "Traceback" not in terminal.text, terminal.text
    saved = load_manifest(tmp_path / ".out.unfinished" / NEWEST).iteration
    assert terminal.step <= saved < STEPS
    assert seconds < 10
    subprocess.run(_command(folders, out, processes), env=ENVIRONMENT, check=True, capture_output=True)
    check_same_training(whole, out)
    print(
        f"\n{number.name}, {processes} process(es): left after {seconds:.1f} s with exit code {code}; the bar showed step "
        f"{terminal.step}, the checkpoint has step {saved}"
    )
