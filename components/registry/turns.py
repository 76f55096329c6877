"""One at a time: the right to move a model's champion, held through whatever MLflow store there is.

MLflow has no "move this alias only if it is still there", but it does refuse a second registered model of one
name, and that in the database: on sqlite, on PostgreSQL and behind a tracking server alike. So whoever wants to
promote registers a model called `<name> (being promoted)`, and deletes it in the end.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

MARK = " (being promoted)"
HOLDER_TAG = "holder"
PATIENCE_SECONDS = 120.0
"""How long one and the same holder may keep others waiting before it is taken for dead; a promotion takes one."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0


class ChampionMovedError(Exception):
    """Somebody else moved the alias since it was read: what was decided must be decided anew."""


@contextmanager
def turn(client: "MlflowClient", name: str) -> Iterator[None]:
    """Wait for the right to move the champion of `name`, and hold it through the block.

    Whoever died with it is waited for once, `PATIENCE_SECONDS` long, by the waiter's own clock; after that it is
    taken over. A holder that was only slow then gets an error in the end, so that of two at most one believes
    that it was alone.

    Raises:
        ChampionMovedError: at the end of the block, if the turn was not held throughout.
    """
    mark, holder = f"{name}{MARK}", uuid4().hex
    try:
        _acquire(client, mark, holder)
        yield
    finally:
        kept = _holder(client, mark) == holder
        if kept:
            _release(client, mark)
    if not kept:
        raise ChampionMovedError(f"{name}: this took so long that somebody else went on meanwhile")


def is_turn(name: str) -> bool:
    """Say whether a registered model is none, but somebody's turn."""
    return name.endswith(MARK)


def _acquire(client: "MlflowClient", mark: str, holder: str) -> None:
    seen, since, pause = None, time.monotonic(), FIRST_PAUSE
    while not _created(client, mark, holder):
        now, other = time.monotonic(), _holder(client, mark)
        if other != seen:
            seen, since = other, now
        elif other is not None and now - since > PATIENCE_SECONDS:
            log.warning(
                "%r was held by one and the same process for %d s; it is taken for dead", mark, now - since
            )
            _release(client, mark)
            continue
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _created(client: "MlflowClient", mark: str, holder: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(
            mark, tags={HOLDER_TAG: holder}, description="Somebody moves the champion; gone in a second."
        )
    except MlflowException as error:
        # The second code: it was deleted while the store looked up what stood in the way.
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
            raise
        # MLflow repeats a call whose answer was lost: what stands in the way may be one's own.
        return _holder(client, mark) == holder
    return True


def _holder(client: "MlflowClient", mark: str) -> str | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(mark).tags.get(HOLDER_TAG, "")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _release(client: "MlflowClient", mark: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.delete_registered_model(mark)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
