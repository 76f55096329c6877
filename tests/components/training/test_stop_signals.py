"""Signals during a training: the first waits for the step, the second does not."""

import os
import signal
import threading

import pytest

from components.training.stop_signals import SIGNALS, StopRequest, stop_requests


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
def test_the_first_signal_waits_for_the_step(number: signal.Signals, raised: type[BaseException]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = [signal.getsignal(one) for one in SIGNALS]
    with stop_requests() as request:
        assert request.signal is None
        os.kill(os.getpid(), number)
        assert request.signal is number
        with pytest.raises(raised) as info:
            request.leave()
    if raised is SystemExit:
        assert info.value.args == (143,)
    assert [signal.getsignal(one) for one in SIGNALS] == before


def test_a_later_second_signal_acts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with stop_requests():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # the same, passed on by a launcher
        monkeypatch.setattr("components.training.stop_signals.SAME_SIGNAL_SECONDS", -1.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_process_without_a_signal_leaves_as_after_sigterm() -> None:
    with pytest.raises(SystemExit, match="143"):
        StopRequest().leave()


def test_another_thread_runs_without_a_request() -> None:
    seen: list[signal.Signals | None] = []

    def work() -> None:
        with stop_requests() as request:
            seen.append(request.signal)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None]
