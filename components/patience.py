"""Patience with faults that pass: whatever asks a server again, after growing pauses, does it through this module.

A step waits for a store that is away, such as one that is restarted, as the environment says. Where somebody looks
on, not at all beyond the few tries of the clients themselves. In a cluster, where a step that fails takes the
hours before it along, minutes: `CASCADE_PATIENCE` holds seconds.
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
    """A server does not answer, or is too busy to: what may pass by itself."""


@dataclass(frozen=True)
class Patience:
    """How long faults that pass are borne, in seconds: all in all, the first pause between tries, and the longest."""

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
        """Give what `request` returns, tried again with growing pauses while what it raises `passes`.

        `on_fault` gets each error that passes. What does not pass is raised at once, and the last error of those
        that do once patience is lost.
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
    """Give what `request` returns, tried again with growing pauses while it raises `AwayError` and patience lasts.

    Raises:
        AwayError: the last one, once patience is lost; other errors of `request` come at once.
        UserError: `CASCADE_PATIENCE` is no number of seconds.
    """
    if not (seconds := _patience()):
        return request()
    return Patience(seconds, FIRST_PAUSE, LONGEST_PAUSE).ask(
        request,
        passes=lambda error: isinstance(error, AwayError),
        on_fault=lambda error: log.warning("%s\nwaiting for it, %g s in all", error, seconds),
    )


def _patience() -> float:
    given = os.environ.get(PATIENCE_VARIABLE) or "0"
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UserError(f"{PATIENCE_VARIABLE} is {given!r}; give seconds, such as 300, or unset it")
    return seconds
