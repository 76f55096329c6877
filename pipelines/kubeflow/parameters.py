"""The parameters of a compiled pipeline: what it declares, and values checked against that before any contact."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_text


@dataclass(frozen=True)
class Parameter:
    """One parameter as the pipeline declares it: type in the pipeline format's words, and if it may be left out."""

    name: str
    type: str
    required: bool


TYPES: dict[str, tuple[type, ...]] = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (float, int),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}
WORDS = {
    "STRING": "text",
    "NUMBER_INTEGER": "a whole number",
    "NUMBER_DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "LIST": 'a list, such as ["a", "b"]',
    "STRUCT": 'a mapping, such as {"a": "b"}',
}


def declared(package: Path) -> dict[str, Parameter]:
    """Read the parameters of a compiled pipeline.

    Raises:
        UserError: the file is missing, no YAML, or no compiled pipeline.
    """
    text = read_text(package, "pipeline")
    try:
        first = next(iter(yaml.safe_load_all(text)), None)
        inputs = first["root"].get("inputDefinitions", {}).get("parameters", {})  # type: ignore[index]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{package} is not a compiled pipeline; `cascade-clip pipeline compile` writes one"
        ) from None
    return {
        name: Parameter(
            name,
            type=entry["parameterType"],
            required=not (entry.get("isOptional") or "defaultValue" in entry),
        )
        for name, entry in inputs.items()
    }


def parse_parameters(items: Iterable[str], known: Mapping[str, Parameter]) -> dict[str, Any]:
    """Give the values of items like `seed=1`; those of parameters that are no text are read as YAML.

    Raises:
        UserError: an item is not NAME=VALUE, comes twice, or its value is not YAML.
    """
    values: dict[str, Any] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not (name and equals):
            raise UserError(f"--parameter {item!r} is not NAME=VALUE; an example is --parameter seed=1")
        if name in values:
            raise UserError(f"--parameter names {name!r} twice; give it once")
        is_text = name not in known or known[name].type == "STRING"
        try:
            values[name] = text if is_text else yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"--parameter {name}: {text!r} is not a YAML value") from error
    return values


def check_parameters(values: Mapping[str, Any], known: Mapping[str, Parameter]) -> None:
    """Hold values against the declaration.

    Raises:
        UserError: one is unknown or of another type, or a required one is missing.
    """
    unknown = [name for name in values if name not in known]
    if unknown:
        raise UserError(
            f"the pipeline has no parameter {', '.join(unknown)}; it has {', '.join(known) or 'none'}"
        )
    missing = [name for name, one in known.items() if one.required and name not in values]
    if missing:
        raise UserError(
            f"the pipeline needs a value for {', '.join(missing)}; give it with --parameter NAME=VALUE"
        )
    for name, value in values.items():
        wanted = known[name].type
        is_a_stray_bool = isinstance(value, bool) and wanted != "BOOLEAN"
        if is_a_stray_bool or not isinstance(value, TYPES[wanted]):
            raise UserError(f"parameter {name} is {value!r}; it must be {WORDS[wanted]}")
