"""The total time of selected calls inside a run, and the times of calls that take turns."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn


class Stopwatch:
    """Sums up the seconds of calls that are not nested."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def start(self, *_: object) -> None:
        self._began = time.perf_counter()

    def stop(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._began

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a timed version of a function."""

        def timed(*args: Any, **options: Any) -> Any:
            self.start()
            try:
                return function(*args, **options)
            finally:
                self.stop()

        return timed

    @contextmanager
    def over(self, module: nn.Module) -> Iterator[None]:
        """Time the calls of a module while the block runs."""
        hooks = [module.register_forward_pre_hook(self.start), module.register_forward_hook(self.stop)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def in_turns(
    calls: Sequence[Callable[[], object]],
    rounds: int,
    *,
    warm_ups: int = 1,
    settle: Callable[[], object] = lambda: None,
) -> list[float]:
    """Return the median seconds of each call: `rounds` interleaved runs after the warm-ups.

    `settle` runs before and after each call and counts as part of it, such as a GPU's synchronisation.
    """
    times: list[list[float]] = [[] for _ in calls]
    for round_ in range(-warm_ups, rounds):
        for call, of_call in zip(calls, times, strict=True):
            settle()
            began = time.perf_counter()
            call()
            settle()
            if round_ >= 0:
                of_call.append(time.perf_counter() - began)
    return [statistics.median(of_call) for of_call in times]
