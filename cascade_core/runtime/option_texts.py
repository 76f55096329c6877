"""Parse option texts: NAME=VALUE pairs, such as a repeated `--split val=val.txt`, and comma-separated numbers."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from cascade_core.errors import UserError

Number = TypeVar("Number", int, float)


def pairs(
    option: str, items: Iterable[str], *, form: str, example: str, empty: bool = False
) -> dict[str, str]:
    """Split items such as `val=val.txt` at their first `=` and strip both halves.

    Raises:
        UserError: an item is not of this form, has no value although `empty` is false, or repeats a name.
    """
    values: dict[str, str] = {}
    for item in items:
        name, equals, value = (part.strip() for part in item.partition("="))
        if not (name and equals and (value or empty)):
            raise UserError(f"{option} {item!r} is not {form}; an example is {option} {example}")
        if name in values:
            raise UserError(f"{option} names {name!r} twice; give it once")
        values[name] = value
    return values


def fraction(option: str, text: str) -> float | None:
    """Return the number from 0 to 1 in a text; None for an empty one, which stands for an option that is left out.

    Raises:
        UserError: the text is no such number.
    """
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UserError(f"{option} is {text!r}; give a number from 0 to 1, such as 0.1")
    return value


def numbers(option: str, listed: str, kind: Callable[[str], Number], *, example: str) -> tuple[Number, ...]:
    """Parse comma-separated numbers.

    Raises:
        UserError: an item is no number of this kind.
    """
    try:
        return tuple(kind(part) for part in listed.split(",") if part.strip())
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise UserError(
            f"{option} {listed!r} are not {what} separated by commas, such as {example}"
        ) from None
