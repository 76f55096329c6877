"""Show the progress of a long step on stderr: as a bar on a terminal, elsewhere as a line every few seconds."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

SECONDS_BETWEEN_LINES = 5.0
DAY = 86_400
DAYS_FROM = 4 * DAY
"""Durations from here on are rounded to days."""


class Progress:
    """Base class; subclasses implement `_show`. `advance` is cheap enough to call at every step."""

    def __init__(self, description: str, total: int | None, *, start: int = 0) -> None:
        self.description = description
        self.total = total
        self.start = start

    def advance(self, done: int, text: str = "", *, total: int | None = None) -> None:
        """Show that `done` steps are finished, with a status `text`; `total` replaces the total of the constructor."""
        if total is not None:
            self.total = total
        self._show(done, text)

    def _show(self, done: int, text: str) -> None: ...


class LineProgress(Progress):
    """Print lines such as `train zegclip: step 400/600 | loss 0.812 | eta 2 min`, and one at the end."""

    def __init__(
        self,
        description: str,
        total: int | None,
        *,
        start: int = 0,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(description, total, start=start)
        self._stream = stream
        self._clock = clock
        self._began = self._printed = clock()

    def _show(self, done: int, text: str) -> None:
        now = self._clock()
        finished = done == self.total
        if now - self._printed < SECONDS_BETWEEN_LINES and not finished:
            return
        self._printed = now
        elapsed, fresh, end = now - self._began, done - self.start, ""
        if finished:
            end = f"done in {duration(elapsed)}"
        elif self.total is not None and fresh > 0:
            end = f"eta {duration(elapsed / fresh * (self.total - done))}"
        position = f"step {done}/{self.total}" if self.total is not None else f"step {done}"
        line = " | ".join(part for part in (position, text, end) if part)
        print(f"{self.description}: {line}", file=self._stream, flush=True)


@contextmanager
def progress(description: str, total: int | None = None, *, start: int = 0) -> Iterator[Progress]:
    """Show the progress of `description` until the block ends; `start` of its `total` steps were done before."""
    if not _on_terminal():
        yield LineProgress(description, total, start=start, stream=sys.stderr)
        return
    # Imported here: half of the commands show no bar.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}", style="dim"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(description, total=total, completed=start, text="")

        class BarProgress(Progress):
            def _show(self, done: int, text: str) -> None:
                bars.update(task, completed=done, total=self.total, text=text)

        yield BarProgress(description, total, start=start)


def duration(seconds: float) -> str:
    """Format a duration: `42 s`, `3 min`, `2 h 10 min`, `12 days`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds >= DAYS_FROM:
        return f"{seconds / DAY:,.0f} days"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def rate_text(rate: float) -> str:
    """Format a number of pictures a second: a whole number, or two digits below 10, so that no slow step shows 0."""
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


def _on_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
