"""The total time of selected calls inside a run."""

import time
from collections.abc import Callable, Iterator
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

        def timed(*args: Any) -> Any:
            self.start()
            try:
                return function(*args)
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
