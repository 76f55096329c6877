"""Content from outside as a pydantic model, and what is wrong with it as a sentence that names source and field."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from cascade_core.errors import UserError

Checked = TypeVar("Checked")


def validated(kind: type[Checked], values: object, *, source: str | Path, way_out: str = "") -> Checked:
    """Give `values` as what `kind` is: a model, a dataclass or a collection of these.

    Raises:
        UserError: they are none; the message names `source` and the first wrong field, and ends with `way_out`.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        told = f"{source}: {first_error(error)}"
        raise UserError(f"{told}; {way_out}" if way_out else told) from error


def first_error(error: ValidationError) -> str:
    """Say what is wrong first, as in 'train.lr: Input should be greater than 0 (got -1)'."""
    return sentence(error.errors()[0])


def sentence(one: ErrorDetails) -> str:
    """Say which field is wrong, why, and what it holds; of a whole model or mapping, only why."""
    field = ".".join(map(str, one["loc"]))
    reason = one["msg"].removeprefix("Value error, ")
    given = "" if isinstance(one["input"], Mapping | BaseModel) else f" (got {one['input']!r})"
    return f"{field}: {reason}{given}" if field else reason
