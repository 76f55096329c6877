"""Exit codes of the commands, and SIGTERM as an exception; see docs/exit_codes.md."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType

log = logging.getLogger(__name__)


class ExitCode(IntEnum):
    """The exit codes of every command; a code above 128 names the signal that stopped it."""

    DONE = 0
    DEFECT = 1
    """A defect of the program, with a traceback on stderr."""
    USER_ERROR = 2
    """A `UserError`, printed as one sentence, or an unknown option."""
    INCOMPLETE = 3
    """The command finished, but some items failed, or the verdict is bad."""
    INTERRUPTED = 128 + signal.SIGINT
    TERMINATED = 128 + signal.SIGTERM


@contextmanager
def termination_raised() -> Iterator[None]:
    """Raise `SystemExit` with 143 in the block at a SIGTERM, so that files are closed and folders cleaned up.

    Only the main thread can handle signals; in other threads this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _exit(number: int, frame: FrameType | None) -> None:
    log.warning("stopped by %s", signal.Signals(number).name)
    raise SystemExit(128 + number)
