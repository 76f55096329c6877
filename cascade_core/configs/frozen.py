"""What all configurations have in common: frozen models that refuse unknown keys, fields that were added later, and limits of sizes."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_jsonable_python

# A configuration may come from anywhere. These limits prevent overflows, and hours of work before a program compares
# the configuration with the weights. The largest CLIPs have 64 blocks and a width of 1,664.
Side = Annotated[int, Field(ge=1, le=2**12)]
"""Of a picture, in pixels."""
Width = Annotated[int, Field(ge=1, le=2**20)]
Depth = Annotated[int, Field(ge=1, le=256)]
MOST_PATCHES = 256  # along a side of a picture


def added(published: Any, **limits: Any) -> Any:
    """Return a field that was added to a configuration later, with the published value as default.

    Files leave it out where it has that value. So older versions read a checkpoint that they can run, and the digest
    that names a training stays.
    """
    return Field(default=published, exclude_if=lambda value: bool(value == published), **limits)


def every_value(settings: BaseModel) -> dict[str, Any]:
    """Return the settings for people, as JSON values: with those that files leave out at their published value."""
    written = settings.model_dump(mode="json")
    return {
        name: every_value(value)
        if isinstance(value, BaseModel)
        else written.get(name, to_jsonable_python(value))
        for name, value in settings
    }


class Frozen(BaseModel):
    """Base of all configuration: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
