"""Lists in messages: cut short, on lines of their own, of what comes twice, and of what is known instead."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from cascade_core.errors import UserError

Value = TypeVar("Value")


def by_name(name: str, table: Mapping[str, Value], *, kind: str) -> Value:
    """Give what has a name in a table.

    Raises:
        UserError: there is no such name; the message says of what `kind` it was to be, and lists the known ones.
    """
    if name not in table:
        raise UserError(f"unknown {kind} {name!r}; known are {', '.join(table)}")
    return table[name]


def short_list(items: Sequence[str], *, most: int, separator: str = ", ") -> str:
    """List up to `most` items and count the others, as in 'sky, wall and 3 more'."""
    rest = len(items) - most
    return separator.join(items[:most]) + (f" and {rest} more" if rest > 0 else "")


def bullets(items: Sequence[str], *, most: int = 10) -> str:
    """List up to `most` items, each on a new line, and count the others on the last."""
    rest = len(items) - most
    lines = [f"- {item}" for item in items[:most]] + ([f"and {rest} more"] if rest > 0 else [])
    return "".join(f"\n  {line}" for line in lines)


def duplicates(items: Iterable[str]) -> list[str]:
    """Give what comes more than once, in order of the alphabet."""
    return sorted(item for item, count in Counter(items).items() if count > 1)
