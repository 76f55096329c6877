"""Validation of external content by pydantic, with errors as sentences that name source and field."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from cascade_core.errors import UserError
from cascade_core.runtime.listing import brief, shortened

Value = TypeVar("Value")


def validated(kind: type[Value], values: object, *, source: str | Path, way_out: str = "") -> Value:
    """Validate `values` as a `kind`: a model, a dataclass or a collection of these.

    Raises:
        UserError: `values` are invalid; the message names `source` and the first wrong field, and ends with `way_out`.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        message = f"{source}: {first_error(error)}"
        raise UserError(f"{message}; {way_out}" if way_out else message) from error


def first_error(error: ValidationError) -> str:
    """Describe the first error, as in 'train.lr: Input should be greater than 0 (got -1)'."""
    return sentence(error.errors()[0])


def sentence(error: ErrorDetails) -> str:
    """Name the wrong field, the reason and its value; for a whole model or mapping, the reason only."""
    field = ".".join(shortened(str(part), most=60) for part in error["loc"][:20])
    reason = error["msg"].removeprefix("Value error, ")
    value = "" if isinstance(error["input"], Mapping | BaseModel) else f" (got {brief(error['input'])})"
    return f"{field}: {reason}{value}" if field else reason
