"""The parameters that a compiled pipeline declares, and the check of values before the cluster is contacted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, Field, create_model

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_text
from cascade_core.runtime.option_texts import pairs
from cascade_core.runtime.validation import validated

TYPES = {
    "STRING": str,
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
}


@dataclass(frozen=True)
class Parameter:
    """A declared parameter: its type, whether it needs a value, and its default."""

    type: type
    required: bool
    default: Any = None


def declared(package: Path) -> dict[str, Parameter]:
    """Read the parameters that a compiled pipeline declares, by name.

    Raises:
        UserError: the file is missing, or is not a compiled pipeline.
    """
    text = read_text(package, "pipeline")
    try:
        first = next(iter(yaml.safe_load_all(text)), None)
        inputs = first["root"].get("inputDefinitions", {}).get("parameters", {})  # type: ignore[index]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{package} is not a compiled pipeline; `cascade-clip pipeline compile` writes one"
        ) from None
    return {name: _parameter(entry) for name, entry in inputs.items()}


def _parameter(entry: Mapping[str, Any]) -> Parameter:
    kind, default = TYPES[entry["parameterType"]], entry.get("defaultValue")
    # kfp writes whole numbers as floats.
    return Parameter(
        kind,
        not (entry.get("isOptional") or "defaultValue" in entry),
        int(default) if kind is int and default is not None else default,
    )


def parse_parameters(items: Iterable[str], parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Parse items like `seed=1`; values are YAML, except those of text parameters.

    Raises:
        UserError: an item is not NAME=VALUE, a name comes twice, or a value is not YAML.
    """
    values: dict[str, Any] = pairs("--parameter", items, form="NAME=VALUE", example="seed=1", empty=True)
    for name, text in values.items():
        if name in parameters and parameters[name].type is not str:
            try:
                values[name] = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise UserError(f"--parameter {name}: {text!r} is not a YAML value") from error
    return values


def check_parameters(values: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> None:
    """Check values against the declared parameters.

    Raises:
        UserError: a parameter is unknown, of another type, or required and missing.
    """
    # Aliases, because a parameter may have the name of a pydantic method.
    model_fields: dict[str, Any] = {
        f"parameter_{name}": (parameter.type, Field(... if parameter.required else None, alias=name))
        for name, parameter in parameters.items()
    }
    model = create_model("Parameters", __config__=ConfigDict(extra="forbid", strict=True), **model_fields)
    way_out = f"the pipeline takes {', '.join(parameters) or 'none'}, each as --parameter NAME=VALUE"
    validated(model, values, source="parameters", way_out=way_out)
