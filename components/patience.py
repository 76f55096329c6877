"""How long a step waits for a server that is away, such as one that is restarted: as the environment says.

Where somebody looks on, not at all beyond the few tries of the clients themselves. In a cluster, where a step that fails takes
the hours before it along, minutes: `CASCADE_PATIENCE` holds seconds.
"""

import logging
import os
from collections.abc import Callable
from typing import TypeVar

from cascade_core.errors import UserError

log = logging.getLogger(__name__)

PATIENCE_VARIABLE = "CASCADE_PATIENCE"
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0

Answer = TypeVar("Answer")


class AwayError(UserError):
    """A server does not answer, or is too busy to: what may pass by itself."""


def patiently(request: Callable[[], Answer]) -> Answer:
    """Give what `request` returns, tried again with growing pauses while it raises `AwayError` and patience lasts.

    Raises:
        AwayError: the last one, once patience is lost; other errors of `request` come at once.
        UserError: `CASCADE_PATIENCE` is no number of seconds.
    """
    if not (seconds := _patience()):
        return request()
    from google.api_core.exceptions import RetryError
    from google.api_core.retry import Retry

    retry = Retry(
        predicate=lambda error: isinstance(error, AwayError),
        initial=FIRST_PAUSE,
        maximum=LONGEST_PAUSE,
        multiplier=2.0,
        timeout=seconds,
        on_error=lambda error: log.warning("%s\nwaiting for it, %g s in all", error, seconds),
    )
    try:
        return retry(request)()
    except RetryError as error:
        raise error.cause or error from None


def _patience() -> float:
    given = os.environ.get(PATIENCE_VARIABLE) or "0"
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UserError(f"{PATIENCE_VARIABLE} is {given!r}; give seconds, such as 300, or unset it")
    return seconds
