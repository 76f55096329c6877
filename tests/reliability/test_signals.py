"""A training on the command line that gets SIGTERM or SIGINT: it saves its step, leaves, and ends as if uninterrupted."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest
import torch
from safetensors.torch import load_file

from cascade_core.checkpoints.manifest import load_manifest
from components.training.resume_checkpoints import NEWEST
from tests.components.conftest import Folders, folders

__all__ = ["folders"]  # a fixture

pytestmark = pytest.mark.reliability

ROOT = Path(__file__).parents[2]
STEPS, SIGNAL_AT = 60, 15
MAIN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
from pipelines.cli.app import app
app()
"""


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
    return [sys.executable, "-u", "-c", MAIN, *arguments, f"--out={out}", f"--processes={processes}"]


def _wait_for_step(stream: IO[str], step: int) -> None:
    """Read the progress until it shows `step`."""
    text = ""
    while part := stream.read(1):
        text += part
        if (steps := re.findall(r"step (\d+)/", text)) and int(steps[-1]) >= step:
            return
    raise AssertionError(f"the training ended first: {text[-2000:]}")


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_saves_the_running_step(
    folders: Folders, tmp_path: Path, number: signal.Signals, processes: int
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CASCADE_TRACKING": "off", "OMP_NUM_THREADS": "1"}
    whole, out = tmp_path / "whole", tmp_path / "out"
    subprocess.run(_command(folders, whole, processes), env=environment, check=True, capture_output=True)
    with subprocess.Popen(
        _command(folders, out, processes), env=environment, stderr=subprocess.PIPE, text=True, bufsize=1
    ) as training:
        assert training.stderr is not None
        _wait_for_step(training.stderr, SIGNAL_AT)
        sent = time.monotonic()
        training.send_signal(number)
        _, errors = training.communicate(timeout=60)
        seconds = time.monotonic() - sent
    assert training.returncode == 128 + number, errors
    assert "Traceback" not in errors
    saved = load_manifest(tmp_path / ".out.unfinished" / NEWEST).iteration
    assert SIGNAL_AT <= saved < STEPS
    subprocess.run(_command(folders, out, processes), env=environment, check=True, capture_output=True)
    ours, theirs = (load_file(folder / "final" / "model.safetensors") for folder in (whole, out))
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert (whole / "history.csv").read_text() == (out / "history.csv").read_text()
    print(
        f"\n{number.name}, {processes} process(es): left after {seconds:.1f} s at step {saved}, exit code {training.returncode}"
    )
