"""Commands that show what other commands take by name: recipes and protocols."""

import sys
from typing import Annotated, Any

import typer

from pipelines.cli.options import OverridesFile, Set
from pipelines.cli.printing import Json, print_json

NO_TERMINAL_WIDTH = 150
"""Columns of a table that is not printed on a terminal."""


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(help="Recipe, or recipe file (.yaml), to print in full; all by name if none."),
    ] = None,
    set_: Set = None,
    overrides: OverridesFile = None,
    as_json: Json = False,
) -> None:
    """List the recipes, or print the whole configuration of one, with overrides applied.

    A recipe of your own is a YAML file: `parent: NAME`, and below it the sections and values that differ.
    """
    from cascade_core.configs.frozen import every_value
    from cascade_core.configs.overrides import parse_overrides
    from cascade_core.configs.recipes import METHOD_NAMES, recipe, recipe_summaries
    from cascade_core.errors import UserError

    if name is not None:
        _print(every_value(recipe(name, parse_overrides(set_ or (), overrides))), as_json)
        return
    if set_ or overrides:
        raise UserError("overrides change one recipe; name it: cascade-clip recipes NAME --set KEY=VALUE")
    summaries = recipe_summaries()
    configs = {name: recipe(name) for name in summaries}
    rows = [
        {
            "recipe": name,
            "method": METHOD_NAMES.get(config.method, config.method),
            "protocol": config.data.protocol if config.model.trains else "any",
            "clip": config.model.clip.name,
            "what": summaries[name],
        }
        for name, config in configs.items()
    ]
    _print_rows(rows, "Recipes", as_json)


def protocols(
    name: Annotated[
        str | None,
        typer.Argument(help="Protocol, or label file (.yaml), to print in full; all by name if none."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the protocols (label set and unseen classes), or print the classes of one."""
    from cascade_core.datasets import catalogue

    if name is not None:
        _print(_described(catalogue.protocol(name)), as_json)
        return
    rows = [
        {
            "protocol": split.name,
            "label set": split.label_set.name,
            "classes": split.num_classes,
            "seen": len(split.seen_names),
            "unseen": short_names(split.unseen_names),
        }
        for split in catalogue.protocols()
    ]
    _print_rows(rows, "Protocols", as_json)


def short_names(names: tuple[str, ...]) -> str:
    """Return the number of names and the first of them."""
    from cascade_core.runtime.listing import short_list

    return f"{len(names)}: {short_list(names, most=5)}" if names else "0"


def _described(split: Any) -> dict[str, Any]:
    labels = split.label_set
    described: dict[str, Any] = {
        "protocol": split.name,
        "label_set": labels.name,
        "seen": list(split.seen_names),
        "unseen": [split.classes[i] for i in split.unseen],
    }
    if synonyms := {
        name: list(others) for name, others in zip(labels.classes, labels.synonyms, strict=False) if others
    }:
        described["synonyms"] = synonyms
    if split.own is not None and split.own.background is not None:
        described["background"] = split.own.background.model_dump(mode="json")
    return described


def _print(content: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(content)
        return
    import yaml

    print(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100), end="")


def _print_rows(rows: list[dict[str, Any]], title: str, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for place, name in enumerate(rows[0]):
        table.add_column(name, no_wrap=place == 0)
    for row in rows:
        table.add_row(*map(str, row.values()))
    console = Console() if sys.stdout.isatty() else Console(width=NO_TERMINAL_WIDTH)
    console.print(table)
