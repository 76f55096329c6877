"""Options whose texts hold several values: by name, such as `--split val=val.txt` again and again, or by commas."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from cascade_core.errors import UserError

Number = TypeVar("Number", int, float)


def pairs(
    option: str, items: Iterable[str], *, form: str, example: str, empty: bool = False
) -> dict[str, str]:
    """Split items such as `val=val.txt` at their first `=`, without the blanks around either half.

    Raises:
        UserError: an item is not of this form, or has no value unless it may be `empty`, or a name comes twice.
    """
    found: dict[str, str] = {}
    for item in items:
        name, equals, value = (part.strip() for part in item.partition("="))
        if not (name and equals and (value or empty)):
            raise UserError(f"{option} {item!r} is not {form}; an example is {option} {example}")
        if name in found:
            raise UserError(f"{option} names {name!r} twice; give it once")
        found[name] = value
    return found


def numbers(option: str, listed: str, kind: Callable[[str], Number], *, example: str) -> tuple[Number, ...]:
    """Read numbers by commas.

    Raises:
        UserError: there is something else among them.
    """
    try:
        return tuple(kind(part) for part in listed.split(",") if part.strip())
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise UserError(f"{option} {listed!r} are not {what} by commas, such as {example}") from None
