"""Parts of a work that need each other, run side by side: a part starts when all that it needs is done."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

SECONDS_BETWEEN_LOOKS = 1.0
"""How long a part that lacks room waits for the next look. (On Windows, only a timed wait hears Ctrl-C.)"""


@dataclass(frozen=True)
class Part:
    """A part of a work.

    Attributes:
        needs: names of the parts that must be done before; those that are no part of the work count as done.
        long: it starts before all short parts that could start too, since the whole lasts as long as its longest chain.
        device: of the parts with the same device, one runs at a time.
        alone: it measures time: it starts when nothing else runs or could start, and until it ends nothing else starts.
    """

    name: str
    needs: frozenset[str] = frozenset()
    long: bool = False
    device: str | None = None
    alone: bool = False


def run_parts(
    parts: Sequence[Part],
    work: Callable[[Part], None],
    *,
    at_once: int,
    room: Callable[[], bool] = lambda: True,
    halted: Callable[[], bool] = lambda: False,
) -> None:
    """Call `work` for each part, in at most `at_once` threads; parts that could start at once keep their order.

    While a part runs, another one starts only if there is `room` for it. After a part raised, no further part starts;
    those that run go on to their ends. So it is once `halted` returns true, which a handler of signals may bring about: an
    exception out of such a handler could come between the start of a thread and its record here.

    Raises:
        Exception: what `work` raised first.
        KeyboardInterrupt: the work was halted.
    """
    waiting = {part.name: part for part in parts}
    running: dict[Future[None], Part] = {}
    errors: list[BaseException] = []
    with ThreadPoolExecutor(at_once) as pool:
        while True:
            if not (stopped := halted() or bool(errors)):
                for part in _startable(waiting, running, at_once, room):
                    running[pool.submit(work, part)] = waiting.pop(part.name)
                assert running or not waiting, f"these parts need each other: {', '.join(waiting)}"
            if not running and (stopped or not waiting):
                break
            ended, _ = wait(running, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
            for future in ended:
                running.pop(future)
                if (error := future.exception()) is not None:
                    errors.append(error)
    if halted():
        raise KeyboardInterrupt
    if errors:
        raise errors[0]


def _startable(
    waiting: Mapping[str, Part], running: Mapping[Future[None], Part], at_once: int, room: Callable[[], bool]
) -> Iterator[Part]:
    """Yield the parts to start now; the caller moves each from `waiting` to `running` before it asks for the next."""
    unfinished = {*waiting, *(part.name for part in running.values())}
    for part in sorted(waiting.values(), key=lambda part: (part.alone, not part.long)):
        if len(running) == at_once or any(other.alone for other in running.values()):
            return
        busy = {other.device for other in running.values()} - {None}
        if part.needs & unfinished or part.device in busy or (part.alone and running):
            continue
        if running and not room():
            return
        yield part
