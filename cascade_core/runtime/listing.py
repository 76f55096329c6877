"""Lists in messages: short lists, bullets, duplicates, and look-ups whose error lists the known names."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from cascade_core.errors import UserError

Value = TypeVar("Value")


def by_name(name: str, table: Mapping[str, Value], *, kind: str) -> Value:
    """Look up a name in a table.

    Raises:
        UserError: the table has no such name; the message contains `kind` and lists the known names.
    """
    if name not in table:
        raise UserError(f"unknown {kind} {name!r}; known are {', '.join(table)}")
    return table[name]


def short_list(items: Sequence[str], *, most: int, separator: str = ", ") -> str:
    """List up to `most` items and count the rest, as in 'sky, wall and 3 more'."""
    rest = len(items) - most
    return separator.join(items[:most]) + (f" and {rest} more" if rest > 0 else "")


def bullets(items: Sequence[str], *, most: int = 10) -> str:
    """List up to `most` items, each on its own line, and count the rest on the last line."""
    rest = len(items) - most
    lines = [f"- {item}" for item in items[:most]] + ([f"and {rest} more"] if rest > 0 else [])
    return "".join(f"\n  {line}" for line in lines)


def duplicates(items: Iterable[str]) -> list[str]:
    """Return the items that occur more than once, sorted."""
    return sorted(item for item, count in Counter(items).items() if count > 1)
