"""SIGTERM and SIGINT during a training: the running step ends, a checkpoint is saved, then the process leaves."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """The signal that asked this process to stop, if any."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def leave(self) -> None:
        """Raise what the signal would have raised at once, now that the work is saved.

        Without a signal of its own, this process leaves as after SIGTERM: another process of the training has one.

        Raises:
            KeyboardInterrupt: the signal is SIGINT.
            SystemExit: the signal is SIGTERM; the exit code is 143.
        """
        if self.signal is signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signal.SIGTERM)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Note the first SIGTERM or SIGINT during the block; a second one has its usual effect at once.

    Only the main thread can handle signals; elsewhere the block runs without a request.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, _frame: FrameType | None) -> None:
        request.signal = signal.Signals(number)
        log.warning(
            "%s: finishing this step and saving a checkpoint; again to stop at once", request.signal.name
        )
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
