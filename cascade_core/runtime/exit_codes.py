"""What the status of a command that has ended says, and how a stop from outside becomes one; docs/exit_codes.md."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType

log = logging.getLogger(__name__)


class ExitCode(IntEnum):
    """The statuses of every command; a status above 128 names the signal that stopped it."""

    DONE = 0
    DEFECT = 1
    """Of the program; a trace stands on stderr."""
    USER_ERROR = 2
    """A `UserError`, said in one sentence; or an option that does not exist."""
    INCOMPLETE = 3
    """The command finished, but some items failed, or the verdict is bad."""
    INTERRUPTED = 128 + signal.SIGINT
    TERMINATED = 128 + signal.SIGTERM


@contextmanager
def termination_raised() -> Iterator[None]:
    """Let a SIGTERM leave the block as `SystemExit` with 143, so that what stands open is closed and cleared away.

    Only the main thread can; elsewhere the block runs as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, frame: FrameType | None) -> None:
    log.warning("stopped by %s", signal.Signals(number).name)
    raise SystemExit(128 + number)
