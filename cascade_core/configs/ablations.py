"""The papers' ablations as grids: themes, each with cells that change a base recipe, and with claims about the cells.

A cell is a recipe of its own: `mini_cascade_clip:aggregation.attention` is the cell `attention` of the theme
`aggregation` on the recipe `mini_cascade_clip`. So every command and pipeline that takes a recipe takes a cell, of the
mini benchmark's recipes and of the published ones alike. Values may depend on the base: blocks count from the last one,
numbers of prompts are multiples.
"""

from collections.abc import Sequence
from typing import Any

from cascade_core.configs.config import RunConfig
from cascade_core.configs.themes.candidates import CANDIDATES, FINALISTS
from cascade_core.configs.themes.cascade import (
    AGGREGATION,
    GROUPS,
    PROJECTION_SEED,
    PROJECTIONS,
    SHARING,
    SIGMA,
)
from cascade_core.configs.themes.peers import CAT_SEG, OTSEG_PATHS, PLUG_IN, SPT_PARTS
from cascade_core.configs.themes.plus import PLUS, PLUS_PROJECTIONS
from cascade_core.configs.themes.scoring import penalties
from cascade_core.configs.themes.self_training import self_training
from cascade_core.configs.themes.theme import Cell, Theme
from cascade_core.configs.themes.zegclip import DESIGNS, LOSS_WEIGHTS, PROMPT_DEPTH, PROMPT_NUMBER
from cascade_core.errors import UserError
from cascade_core.runtime.listing import by_name

SEPARATOR = ":"
"""Stands between a base recipe and its cell or theme."""

THEMES = {
    theme.name: theme
    for theme in (
        DESIGNS,
        PROMPT_DEPTH,
        PROMPT_NUMBER,
        LOSS_WEIGHTS,
        penalties("penalty_zegclip", "ZegCLIP", "none"),
        self_training("self_training", "ZegCLIP", "none"),
        GROUPS,
        SHARING,
        AGGREGATION,
        SIGMA,
        PROJECTIONS,
        PROJECTION_SEED,
        PLUG_IN,
        SPT_PARTS,
        OTSEG_PATHS,
        CAT_SEG,
        PLUS,
        PLUS_PROJECTIONS,
        penalties("penalty_cascade", "Cascade-CLIP", "cascade"),
        self_training("self_training_cascade", "Cascade-CLIP", "cascade"),
        CANDIDATES,
        FINALISTS,
    )
}
"""All themes by name: ZegCLIP's, then Cascade-CLIP's."""


def named_theme(name: str) -> Theme:
    """Return a theme by its name.

    Raises:
        UserError: there is none; the message lists the themes.
    """
    return by_name(name, THEMES, kind="theme of ablations")


def cell_recipe(base: str, theme: Theme, cell: Cell) -> str:
    """Return the name of a cell as a recipe."""
    return f"{base}{SEPARATOR}{theme.name}.{cell.name}"


def cell_of(method: str) -> Cell | None:
    """Return the cell with this method, `THEME.CELL`; None if it is none, or one of another version."""
    theme, _, name = method.partition(".")
    cells = THEMES[theme].cells if theme in THEMES else ()
    return next((cell for cell in cells if cell.name == name), None)


def cells_of(recipes: Sequence[str]) -> list[str]:
    """Replace each theme among recipes, such as `mini_cascade_clip:sigma`, by its cells without the floor, which trains nothing; others stay.

    Raises:
        UserError: a theme is unknown, is for choices, as lists of recipes may be scored on any split, or compares modes of
            self-training, of which a list has one.
    """
    each = []
    for name in recipes:
        base, separator, place = str(name).rpartition(SEPARATOR)
        if separator and "." not in place:
            theme = named_theme(place)
            if theme.for_choices:
                raise UserError(
                    f"{name} is for choices on validation pictures: run `cascade-clip ablation {place}`, or name its cells"
                )
            if theme.without_self_training is not None:
                raise UserError(
                    f"{name} compares modes of self-training, and a list of recipes has one mode for all: run `cascade-clip "
                    f"ablation {place}` on a workstation"
                )
            each += [cell_recipe(base, theme, cell) for cell in theme.settings]
        else:
            each.append(name)
    return each


def cell_overrides(place: str, base: RunConfig) -> dict[str, Any]:
    """Return the overrides that make a cell, `THEME.CELL`, of its base, with the method `THEME.CELL`.

    Raises:
        UserError: theme or cell is unknown, or the base is of the other method.
    """
    name, dot, cell_name = place.partition(".")
    theme = named_theme(name)
    if not dot:
        raise UserError(
            f"{base.recipe}{SEPARATOR}{name} is a theme and no recipe; name a cell, such as "
            f"{cell_recipe(base.recipe, theme, theme.base)}"
        )
    cell = theme.cell(cell_name)
    if base.model.fusion != theme.fusion:
        raise UserError(
            f"theme {name} changes a recipe with model.fusion={theme.fusion!r}; {base.recipe} has "
            f"{base.model.fusion!r}: take {'a ZegCLIP' if theme.fusion == 'none' else 'a Cascade-CLIP'} recipe"
        )
    values = {key: value(base) if callable(value) else value for key, value in cell.changes.items()}
    if cell.mode is not None:
        values = {"self_train.mode": cell.mode, **values}
    return {**values, "recipe": f"{base.recipe}{SEPARATOR}{place}", "method": place}
