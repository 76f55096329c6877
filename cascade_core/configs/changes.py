"""Changes of a configuration by dotted keys: what makes a variant of a recipe."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from cascade_core.configs.config import RunConfig
from cascade_core.errors import UserError
from cascade_core.labels.label_file import with_label_file
from cascade_core.runtime.listing import brief
from cascade_core.runtime.validation import first_error


def variant(parent: RunConfig, name: str, method: str, changes: Mapping[str, Any]) -> RunConfig:
    """Return a recipe of another name and method that differs from its parent by the changes alone."""
    return with_overrides(parent, {"recipe": name, "method": method, **changes})


def with_overrides(config: RunConfig, overrides: Mapping[str, Any]) -> RunConfig:
    """Return `config` with the values of dotted keys, such as `{"train.iterations": 20}`, replaced and checked.

    If `data.protocol` is a label file, its whole content becomes part of the configuration.

    Raises:
        UserError: a key is unknown (the message lists the keys known there), or a value is refused.
    """
    values = config.model_dump(mode="json")
    for key, value in with_label_file(overrides).items():
        *parents, field = key.split(".")
        section: dict[str, Any] = values
        model: type[BaseModel] = RunConfig
        for name in parents:
            kind = model.model_fields[name].annotation if name in model.model_fields else None
            if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
                known = ", ".join(model.model_fields)
                raise UserError(
                    f"unknown override {brief(key)}: {model.__name__} has no section {brief(name)}; it has {known}"
                )
            # A section of settings that were added later is left out where it has the published values.
            section, model = section.setdefault(name, {}), kind
        if field not in model.model_fields:
            raise UserError(
                f"unknown override {brief(key)}: {model.__name__} has {', '.join(model.model_fields)}"
            )
        section[field] = value
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(f"recipe {config.recipe!r}: {first_error(error)}") from error
