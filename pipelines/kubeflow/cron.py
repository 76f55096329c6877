"""Cron expressions as Kubeflow Pipelines reads them, checked before a server sees them.

Six fields, seconds first; the five that crontab knows get a 0 for the seconds. The grammar is that of the
server's scheduler, which is stricter than croniter's: no L, W or #, no range that wraps around, Sunday is 0.
"""

import re
from datetime import UTC, datetime

from cascade_core.errors import UserError

FIELDS = {
    "second": "0-59",
    "minute": "0-59",
    "hour": "0-23",
    "day of month": "1-31",
    "month": "1-12 or JAN-DEC",
    "day of week": "0-6 or SUN-SAT, Sunday is 0",
}
"""The fields in their order, and the values each may hold."""

PART = re.compile(r"(\*|\?|(?P<first>[0-9]+|[A-Za-z]{3})(-(?P<last>[0-9]+|[A-Za-z]{3}))?)(/[0-9]+)?")
DESCRIPTORS = "@"
SUNDAY_TWICE = "7"


def checked_cron(expression: str) -> str:
    """Give the expression with six fields.

    Raises:
        UserError: it has another number of fields, a field is wrong (the message names it), or no date ever
            fits, such as the 30th of February.
    """
    from croniter import CroniterBadDateError, croniter

    if expression.strip().startswith(DESCRIPTORS):
        raise UserError(
            f"cron expression {expression!r}: write the fields out, such as '0 3 * * *' for @daily at three"
        )
    fields = expression.split()
    if len(fields) == len(FIELDS) - 1:
        fields.insert(0, "0")
    if len(fields) != len(FIELDS):
        raise UserError(
            f"cron expression {expression!r} has {len(fields)} fields; expected six ({', '.join(FIELDS)}), or "
            "five without the seconds"
        )
    for position, field in enumerate(fields):
        _check_field(expression, position, field)
    six = " ".join(fields)
    try:
        croniter(_for_croniter(six), datetime.now(UTC), second_at_beginning=True).get_next(datetime)
    except CroniterBadDateError:
        raise UserError(
            f"cron expression {expression!r}: no date fits day of month {fields[3]!r} and month {fields[4]!r}; "
            "the schedule would never run"
        ) from None
    return six


def next_times(expression: str, count: int, *, after: datetime | None = None) -> list[datetime]:
    """Give the next times, in UTC, at which a checked expression starts a run."""
    from croniter import croniter

    times = croniter(_for_croniter(expression), after or datetime.now(UTC), second_at_beginning=True)
    return [times.get_next(datetime) for _ in range(count)]


def _check_field(expression: str, position: int, field: str) -> None:
    from croniter import CroniterError, croniter

    name, allowed = list(FIELDS.items())[position]
    wrong = f"cron expression {expression!r}: {name} is {field!r}"
    for part in field.split(","):
        match = PART.fullmatch(part)
        if not match or (name == "day of week" and SUNDAY_TWICE in (match["first"], match["last"])):
            raise UserError(f"{wrong}; allowed are {allowed}, *, lists, ranges and steps")
        # Alone in its field: what croniter then refuses is this part.
        alone = ["*"] * len(FIELDS)
        alone[position] = part
        try:
            expanded = croniter.expand(_for_croniter(" ".join(alone)), second_at_beginning=True)
        except CroniterError:
            raise UserError(f"{wrong}; allowed are {allowed}, *, lists, ranges and steps") from None
        if match["last"] and _wraps(expanded, match["first"], match["last"], position):
            raise UserError(f"{wrong}; the range {part} ends before it begins, write it as two")


def _wraps(expanded: object, first: str, last: str, position: int) -> bool:
    """Say if a range runs over the end of its field, which croniter lets pass."""
    from croniter import croniter

    def number(value: str) -> int:
        alone = ["*"] * len(FIELDS)
        alone[position] = value
        fields, _ = croniter.expand(_for_croniter(" ".join(alone)), second_at_beginning=True)
        # croniter gives the seconds last.
        return int(fields[(position - 1) % len(FIELDS)][0])

    return number(first) > number(last)


def _for_croniter(six: str) -> str:
    return six.replace("?", "*")
