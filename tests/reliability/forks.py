"""Processes that are killed: a fork of the test runs a function and dies at a chosen file operation or time."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.005
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.chmod", "os.utime", "os.truncate"}


def run(
    work: Callable[[], object],
    *,
    kill_at: int | None = None,
    below: Path,
    after: float | None = None,
    when: Callable[[], bool] = lambda: True,
) -> int:
    """Run `work` in a fork, and return its exit code (negative: the signal that ended it).

    The fork dies by SIGKILL just before file operation `kill_at` below the folder `below`, or `after` seconds, counted
    from the moment at which `when` holds.
    """
    pid = os.fork()
    if pid == 0:
        os.setsid()  # a kill takes the processes that it started along
        code = 1
        try:
            if kill_at is not None:
                _die_at(kill_at, below)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if after is not None:
        while not when():
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended == pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(POLL_SECONDS)
        time.sleep(after)
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended == pid:
            return os.waitstatus_to_exitcode(status)
        os.killpg(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def operations(work: Callable[[], object], *, below: Path, count_file: Path) -> int:
    """Run `work` in a fork and return how many file operations it does below the folder `below`."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            seen = _counted(below, lambda number: None)
            work()
            count_file.write_text(str(seen[0]))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return int(count_file.read_text())


def _die_at(kill_at: int, below: Path) -> None:
    def die(number: int) -> None:
        if number == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    _counted(below, die)


def _counted(below: Path, at: Callable[[int], None]) -> list[int]:
    """Count the operations that change files below a folder, and call `at` with the number of each before it."""
    seen, folder = [0], str(below)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            changes = isinstance(arguments[2], int) and arguments[2] & WRITING
        else:
            changes = event in CHANGES
        if changes and any(
            isinstance(part, str | os.PathLike) and folder in str(part) for part in arguments[:2]
        ):
            at(seen[0])
            seen[0] += 1

    sys.addaudithook(hook)
    return seen
