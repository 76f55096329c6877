"""Values and lists in messages: shortened values, short lists, bullets, duplicates, and look-ups that list known names."""

import reprlib
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from cascade_core.errors import UserError

Value = TypeVar("Value")
Key = TypeVar("Key", bound=Hashable)


def by_name(name: str, table: Mapping[str, Value], *, kind: str) -> Value:
    """Look up a name in a table.

    Raises:
        UserError: the table has no such name; the message contains `kind` and lists the known names.
    """
    if name not in table:
        raise UserError(f"unknown {kind} {brief(name)}; known are {', '.join(table)}")
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


def same_name(name: str) -> str:
    """Return a name in the form for comparisons, which ignores case, repeated blanks and Unicode's forms of a letter."""
    return unicodedata.normalize("NFC", " ".join(name.split()).casefold())


def check_letters(name: str) -> None:
    """Check that a name can be written as UTF-8.

    Raises:
        UserError: it has surrogates, which bytes of another encoding become.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise UserError(f"name {brief(name)} is not UTF-8 text; write it anew")


def check_unique(named: Iterable[tuple[Key, str]], *, what: str, way_out: str) -> None:
    """Check that the keys in `named`, pairs of a key and the name of its item, are unique.

    Raises:
        UserError: two items have one key; the message starts with `what`, names both and ends with `way_out`.
    """
    first: dict[Key, str] = {}
    for key, name in named:
        if key in first:
            raise UserError(f"{what} {brief(key)} stands for both {first[key]} and {name}; {way_out}")
        first[key] = name


def duplicates(items: Iterable[str]) -> list[str]:
    """Return the items that occur more than once, sorted."""
    return sorted(item for item, count in Counter(items).items() if count > 1)
