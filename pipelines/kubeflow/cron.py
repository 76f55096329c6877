"""Cron expressions as Kubeflow Pipelines reads them: six fields, seconds first; five get a 0 for the seconds.

The server has the last word: its scheduler is stricter than croniter, and knows no L or #, no range that wraps
around, and no Sunday called 7.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cascade_core.errors import UserError

if TYPE_CHECKING:
    from croniter import croniter

FIELDS = {
    "second": "0-59",
    "minute": "0-59",
    "hour": "0-23",
    "day of month": "1-31",
    "month": "1-12 or JAN-DEC",
    "day of week": "0-6 or SUN-SAT, Sunday is 0",
}
"""The fields in their order, and the values each may hold."""


def checked_cron(expression: str) -> str:
    """Give the expression with six fields.

    Raises:
        UserError: it has another number of fields, a field is wrong (the message names it), or no date ever
            fits, such as the 30th of February.
    """
    from croniter import CroniterBadDateError, CroniterError

    fields = expression.split()
    if len(fields) == len(FIELDS) - 1:
        fields.insert(0, "0")
    if len(fields) != len(FIELDS):
        raise UserError(
            f"cron expression {expression!r} has {len(fields)} fields; expected six ({', '.join(FIELDS)}), or "
            "five without the seconds"
        )
    for position, (name, allowed) in enumerate(FIELDS.items()):
        alone = ["*"] * len(FIELDS)
        alone[position] = fields[position]
        try:
            _times(" ".join(alone))
        except CroniterError:
            raise UserError(
                f"cron expression {expression!r}: {name} is {fields[position]!r}; allowed are {allowed}, *, lists, "
                "ranges and steps"
            ) from None
    six = " ".join(fields)
    try:
        next_times(six, 1)
    except CroniterBadDateError:
        raise UserError(
            f"cron expression {expression!r}: no date fits day of month {fields[3]!r} and month {fields[4]!r}; "
            "the schedule would never run"
        ) from None
    return six


def next_times(expression: str, count: int, *, after: datetime | None = None) -> list[datetime]:
    """Give the next times, in UTC, at which a checked expression starts a run."""
    times = _times(expression, after)
    return [times.get_next(datetime) for _ in range(count)]


def _times(six: str, after: datetime | None = None) -> "croniter":
    from croniter import croniter

    return croniter(six.replace("?", "*"), after or datetime.now(UTC), second_at_beginning=True)
