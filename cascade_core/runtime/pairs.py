"""Options that give one value by name, such as `--split val=val.txt`, again and again."""

from collections.abc import Iterable

from cascade_core.errors import UserError


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
