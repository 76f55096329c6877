"""How much of a run some calls inside it take."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


class Stopwatch:
    """Sums up the seconds of some calls, which do not hold each other."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def start(self, *_: object) -> None:
        self._began = time.perf_counter()

    def stop(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._began

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Give the function, timed."""

        def measured(*given: Any) -> Any:
            self.start()
            try:
                return function(*given)
            finally:
                self.stop()

        return measured

    @contextmanager
    def over(self, module: nn.Module) -> Iterator[None]:
        """Time the calls of a module as long as the block lasts."""
        hooks = [module.register_forward_pre_hook(self.start), module.register_forward_hook(self.stop)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
