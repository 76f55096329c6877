"""Retry requests to servers, with exponential back-off.

`CASCADE_PATIENCE` holds the seconds for which a step retries while a store is away, such as one that restarts.
Without it a step does not retry: on a terminal, a user reads the error and decides. In a cluster the pipeline
sets it to minutes, because a failed step would waste the hours before it.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from cascade_core.errors import UserError

log = logging.getLogger(__name__)

PATIENCE_VARIABLE = "CASCADE_PATIENCE"
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0

Answer = TypeVar("Answer")


class AwayError(UserError):
    """A transient failure: a server does not answer, or is too busy."""


@dataclass(frozen=True)
class Patience:
    """A retry policy, in seconds: total time, first pause between two tries, longest pause."""

    total: float
    first: float = FIRST_PAUSE
    longest: float = LONGEST_PAUSE

    def ask(
        self,
        request: Callable[[], Answer],
        *,
        passes: Callable[[BaseException], bool],
        on_fault: Callable[[BaseException], None],
    ) -> Answer:
        """Return what `request` returns; retry with growing pauses while it raises a transient error.

        `passes` decides whether an error is transient, and `on_fault` gets each that is. Other errors are raised at
        once. After `total` seconds the last transient error is raised.
        """
        from google.api_core.exceptions import RetryError
        from google.api_core.retry import Retry

        retry = Retry(
            predicate=passes,
            initial=self.first,
            maximum=self.longest,
            multiplier=2.0,
            timeout=self.total,
            on_error=on_fault,
        )
        try:
            return retry(request)()
        except RetryError as error:
            last = error.cause
            assert last is not None
            raise last from last.__cause__


def patiently(request: Callable[[], Answer]) -> Answer:
    """Return what `request` returns; retry while it raises `AwayError`, for at most `CASCADE_PATIENCE` seconds.

    Raises:
        AwayError: the server is still away after that time.
        UserError: `CASCADE_PATIENCE` is not a number of seconds.
    """
    if not (seconds := _retry_seconds()):
        return request()
    return Patience(seconds, FIRST_PAUSE, LONGEST_PAUSE).ask(
        request,
        passes=lambda error: isinstance(error, AwayError),
        on_fault=lambda error: log.warning("%s\nretrying, for at most %g s in all", error, seconds),
    )


def _retry_seconds() -> float:
    text = os.environ.get(PATIENCE_VARIABLE) or "0"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UserError(f"{PATIENCE_VARIABLE} is {text!r}; give seconds, such as 300, or unset it")
    return seconds
