"""Overrides of a recipe: `--set key=value` on a command line, or a section of params.yaml."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_text
from cascade_core.runtime.listing import brief, shortened
from cascade_core.runtime.yaml_text import MOST_BYTES, parse_yaml

SECTION = "overrides"
STATED = {
    "recipe": "--recipe (a pipeline's parameter recipes)",
    "seed": "--seed (a pipeline's parameter seed or seeds)",
    "self_train.mode": "self-train's --mode (a pipeline's parameter self_training)",
    "self_train.protocol": "self-train's --mode, its new name (a pipeline's parameter self_training)",
}
"""Keys with a command-line option of their own; the option would silently replace an override of such a key."""


def parse_overrides(items: Iterable[str], file: Path | None = None) -> dict[str, Any]:
    """Return dotted keys and values: those of `file`'s section `overrides`, then `items` over them.

    Values are parsed as YAML, so `64` is a number and `[1, 2]` a list. A null in the file keeps the recipe's
    value; a null in `items` is a value.

    Raises:
        UserError: an item is not KEY=VALUE, or the file is missing or not YAML.
    """
    section = read_parameters(file).get(SECTION) or {} if file else {}
    if not isinstance(section, Mapping):
        raise UserError(
            f"{file}: {SECTION} is {brief(section)}; expected sections such as train: {{iterations: 20}}"
        )
    overrides = dotted(section)
    for item in items:
        key, equals, value = item.partition("=")
        if not (key.strip() and equals):
            raise UserError(f"--set {brief(item)} is not KEY=VALUE; an example is --set train.iterations=20")
        overrides[key.strip()] = parse_yaml(value, f"--set {shortened(item)}", aliases=True)
    return overrides


def refuse_stated(overrides: Iterable[str]) -> None:
    """Raise UserError if a key has a command-line option of its own."""
    for key in overrides:
        if key in STATED:
            raise UserError(f"override {key!r}: {key} is stated by {STATED[key]}; use that instead")


def with_precision(overrides: Mapping[str, Any], precision: str | None) -> Mapping[str, Any]:
    """Return overrides with the precision of a training that an option states, if it does.

    Raises:
        UserError: an override states another one.
    """
    key = "train.precision"
    if precision is None:
        return overrides
    if overrides.get(key, precision) != precision:
        raise UserError(f"--precision {precision} and override {key}={overrides[key]}; give one of them")
    return {**overrides, key: precision}


def dotted(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings into one with dotted keys, without null values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= dotted(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value
    return flat


def read_parameters(file: Path) -> Mapping[str, Any]:
    """Read a YAML mapping such as params.yaml, which may be empty; UserError if the file is anything else."""
    text = read_text(file, "parameters", most=MOST_BYTES)
    content = parse_yaml(text, f"parameters file {file}", aliases=True) or {}
    if not isinstance(content, Mapping):
        raise UserError(f"parameters {file} hold {brief(content)}; expected sections, such as overrides:")
    return content
