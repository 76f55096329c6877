"""Values and lists in messages: shortened values, short lists, bullets, duplicates, and look-ups that list known names."""

import reprlib
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


class _Brief(reprlib.Repr):
    """Python's shortened representations, wide enough for a setting or a path."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 3, 200, 200, 60

    def repr_int(self, value: int, level: int) -> str:
        """Represent an integer; Python itself converts none of more than 4,300 digits."""
        bits = value.bit_length()
        return super().repr_int(value, level) if bits < 1000 else f"an integer of {bits} bits"


def brief(value: object) -> str:
    """Represent a value as Python does, but shortened, however large or deep the value is."""
    return _Brief().repr(value)


def shortened(text: str, *, most: int = 300) -> str:
    """Return a text on one line that any terminal can print, without its middle if it has more than `most` letters."""
    line = " ".join(text.split()).encode(errors="backslashreplace").decode()
    return line if len(line) <= most else f"{line[: most // 2]} ... {line[-most // 3 :]}"


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
