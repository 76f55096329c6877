"""SIGTERM and SIGINT during a training: the running step ends, a checkpoint is saved, then the process leaves."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Never

from cascade_core.parallel import any_process
from cascade_core.runtime.exit_codes import ExitCode
from cascade_core.train.loop import StepReport

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
SAME_SIGNAL_SECONDS = 2.0
"""A launcher passes on what the terminal has already sent to all processes: a second signal this soon is the same one."""


class StopRequest:
    """The signal that asked this process to stop, if any."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.since = 0.0

    def leave(self) -> Never:
        """Raise what the signal would have raised at once, now that the work is saved.

        Without a signal of its own, this process leaves as after SIGTERM: another process of the training has one.

        Raises:
            KeyboardInterrupt: the signal is SIGINT.
            SystemExit: otherwise; the exit code is 143.
        """
        code = ExitCode.INTERRUPTED if self.signal is signal.SIGINT else ExitCode.TERMINATED
        log.warning("stopped with exit code %d; the same command resumes this training", code)
        if self.signal is signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(code)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Note a SIGTERM or SIGINT during the block; one that comes seconds later has its usual effect at once.

    Only the main thread can handle signals; elsewhere the block runs without a request.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, _frame: FrameType | None) -> None:
        if request.signal is None:
            request.signal, request.since = signal.Signals(number), time.monotonic()
            log.warning(
                "%s: saving a checkpoint after this step; repeat it to stop at once", request.signal.name
            )
        elif time.monotonic() - request.since > SAME_SIGNAL_SECONDS:
            request.leave()

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def until_stopped(reports: Iterator[StepReport], stop: StopRequest) -> Iterator[tuple[StepReport, bool]]:
    """Yield every report, and whether it is the last because a process of this training shall stop.

    The caller saves the last step. Then all processes leave together.

    Raises:
        KeyboardInterrupt, SystemExit: as `StopRequest.leave`, after the last step, unless that ends the training.
    """
    try:
        for report in reports:
            last = any_process(stop.signal is not None) and report.iteration < report.total_iterations
            yield report, last
            if last:
                any_process(last)  # waits until the first process has saved
                stop.leave()
    except RuntimeError:
        if stop.signal is not None:  # another process has left already
            stop.leave()
        raise
