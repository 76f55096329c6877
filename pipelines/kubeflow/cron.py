"""Cron expressions of Kubeflow Pipelines: six fields, seconds first; an expression of five gets 0 seconds.

The server decides in the end: its scheduler is stricter than croniter, and refuses L, #, ranges that wrap around, and 7
for Sunday.
"""

from datetime import UTC, datetime

from croniter import CroniterBadDateError, CroniterError, croniter

from cascade_core.errors import UserError

FIELDS = {
    "second": "0-59",
    "minute": "0-59",
    "hour": "0-23",
    "day of month": "1-31",
    "month": "1-12 or JAN-DEC",
    "day of week": "0-6 or SUN-SAT, Sunday is 0",
}
"""The fields in their order, and their values."""


def checked_cron(expression: str) -> str:
    """Return the expression with six fields.

    Raises:
        UserError: the number of fields is wrong, a field is wrong (the message names it), or no date fits, such as the
            30th of February.
    """
    fields = expression.split()
    if len(fields) == len(FIELDS) - 1:
        fields.insert(0, "0")
    if len(fields) != len(FIELDS):
        raise UserError(
            f"cron expression {expression!r} has {len(fields)} fields; expected six ({', '.join(FIELDS)}), or "
            "five without the seconds"
        )
    for position, (name, values) in enumerate(FIELDS.items()):
        others = ["*"] * len(FIELDS)
        others[position] = fields[position]
        try:
            _times(" ".join(others))
        except CroniterError:
            raise UserError(
                f"cron expression {expression!r}: {name} is {fields[position]!r}; allowed are {values}, *, lists, "
                "ranges and steps"
            ) from None
    six_fields = " ".join(fields)
    try:
        next_times(six_fields, 1)
    except CroniterBadDateError:
        raise UserError(
            f"cron expression {expression!r}: no date fits day of month {fields[3]!r} and month {fields[4]!r}; "
            "the schedule would never run"
        ) from None
    return six_fields


def next_times(six_fields: str, count: int, *, after: datetime | None = None) -> list[datetime]:
    """Return the next times, in UTC, at which a checked expression starts a run."""
    times = _times(six_fields, after)
    return [times.get_next(datetime) for _ in range(count)]


def _times(six_fields: str, after: datetime | None = None) -> croniter:
    return croniter(six_fields.replace("?", "*"), after or datetime.now(UTC), second_at_beginning=True)
