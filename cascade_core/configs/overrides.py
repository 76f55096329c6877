"""Overrides of a recipe as people give them: `--set key=value` on a command line, a section of params.yaml."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_text

SECTION = "overrides"
STATED = {
    "recipe": "--recipe (a pipeline's parameter recipes)",
    "seed": "--seed (a pipeline's parameter seed or seeds)",
    "self_train.mode": "self-train's --mode (a pipeline's parameter self_training)",
    "self_train.protocol": "self-train's --mode, its name now (a pipeline's parameter self_training)",
}
"""Keys that have an option of their own: as an override each would be a second word for one thing, and lose."""


def parse_overrides(items: Iterable[str], file: Path | None = None) -> dict[str, Any]:
    """Give dotted keys and values: those of `file`'s section `overrides`, then `items` over them.

    A value is read as YAML, so `64` is a number and `[1, 2]` a list. In the file, null leaves the recipe's
    own value; in `items` it is a value.

    Raises:
        UserError: an item is not KEY=VALUE, or the file is missing or not YAML.
    """
    overrides = _from_file(file) if file is not None else {}
    for item in items:
        key, equals, value = item.partition("=")
        if not (key.strip() and equals):
            raise UserError(f"--set {item!r} is not KEY=VALUE; an example is --set train.iterations=20")
        try:
            overrides[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"--set {item!r}: {value!r} is not a YAML value: {error}") from error
    return overrides


def refuse_stated(overrides: Iterable[str]) -> None:
    """Refuse an override of what an option states.

    Raises:
        UserError: a key is one of `STATED`.
    """
    for key in overrides:
        if key in STATED:
            raise UserError(f"override {key!r}: {key} is stated by {STATED[key]}; give it there")


def dotted(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into one with dotted keys, leaving out null."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= dotted(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value
    return flat


def read_parameters(file: Path) -> Mapping[str, Any]:
    """Read a file of parameters, such as params.yaml; an empty one has none.

    Raises:
        UserError: it cannot be read, or is no YAML mapping.
    """
    text = read_text(file, "parameters")
    try:
        content = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"parameters {file} are not YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise UserError(f"parameters {file} hold {content!r}; expected sections, such as overrides:")
    return content


def _from_file(file: Path) -> dict[str, Any]:
    section = read_parameters(file).get(SECTION) or {}
    if not isinstance(section, Mapping):
        raise UserError(
            f"{file}: {SECTION} is {section!r}; expected sections such as train: {{iterations: 20}}"
        )
    return dotted(section)
