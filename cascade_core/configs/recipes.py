"""Recipes by their names: the complete configuration of a published run, of the mini benchmark's, or of a recipe file."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cascade_core.configs import mini_recipes, published_recipes
from cascade_core.configs.ablations import SEPARATOR, cell_overrides, cells_of
from cascade_core.configs.backbones import CLIP_VIT_B16, backbone_changes
from cascade_core.configs.changes import with_overrides
from cascade_core.configs.config import RunConfig
from cascade_core.configs.overrides import refuse_stated
from cascade_core.configs.recipe_file import is_recipe_file, read_recipe_file
from cascade_core.configs.training_free import LAST_BLOCKS, training_free
from cascade_core.errors import UserError
from cascade_core.runtime.listing import by_name

METHOD_NAMES = {
    "zegclip": "ZegCLIP",
    "cascade_clip": "Cascade-CLIP",
    "spt_seg": "SPT-SEG",
    "spt_seg_cascade": "SPT-SEG with Cascade",
    "frozen_cascade": "frozen CLIP with Cascade",
    "naive_fusion": "naive multi-level fusion",
    "zegclip_no_rd": "ZegCLIP without relationship descriptor",
    "zegclip_no_prompts": "ZegCLIP without prompts",
    "decoder_ce": "prompts + decoder, cross-entropy",
    "baseline": "frozen CLIP + decoder, cross-entropy",
    "linear": "linear pixel-text map",
    "otseg": "OTSeg+",
    "cat_seg": "CAT-Seg",
    "cat_seg_frozen": "CAT-Seg's head on the frozen CLIP",
    "plus": "Cascade-CLIP with cosines",
    "plus_projections": "Cascade-CLIP with trained projections",
    "maskclip": "MaskCLIP",
    "sclip": "SCLIP",
    "clearclip": "ClearCLIP",
    "naclip": "NACLIP",
}
"""The title of a recipe's `method` in tables and pages; a method that is not listed has its own name as title."""

_RECIPES: dict[str, Callable[[], RunConfig]] = {
    **{function.__name__: function for function in (*mini_recipes.RECIPES, *published_recipes.RECIPES)},
    **{
        f"{world}_{method}": partial(mini_recipes.small_training_free, world, method)
        for world in ("mini", "hard")
        for method in LAST_BLOCKS
    },
    **{method: partial(training_free, method, CLIP_VIT_B16) for method in LAST_BLOCKS},
}


def recipe_names() -> tuple[str, ...]:
    """Return every recipe's name: those that train, the mini benchmark's first, then the training-free ones."""
    return tuple(_RECIPES)


def trained_recipe_names() -> tuple[str, ...]:
    """Return the names of the recipes that have something to train."""
    return tuple(name for name in _RECIPES if name.rpartition("_")[2] not in LAST_BLOCKS)


def reads_templates(recipes: Sequence[str], overrides: Mapping[str, Any] | None = None) -> bool:
    """Return whether one of these recipes reads a row for every template; a theme stands for its cells."""
    return any(recipe(name, overrides).model.reads_templates for name in cells_of(recipes))


def naming_recipe(recipes: Sequence[str]) -> str:
    """Return the recipe whose prompt templates all recipes of a run share: the first that trains, or else the first."""
    recipes = cells_of(recipes)
    return next((name for name in recipes if recipe(name).model.trains), recipes[0])


def recipe_summaries() -> dict[str, str]:
    """Return the first sentence about every recipe, in the order of `recipe_names`."""
    return {
        name: (inspect.getdoc(getattr(function, "func", function)) or "").partition("\n")[0].rstrip(".")
        for name, function in _RECIPES.items()
    }


def recipe(name: str, overrides: Mapping[str, Any] | None = None, *, seed: int = 0) -> RunConfig:
    """Return the configuration of the recipe `name`, or of the recipe file of that path, changed by dotted `overrides`.

    The override `clip` names another backbone, such as "ViT-L-14", and is applied before all others. A name such as
    `mini_zegclip:prompt_depth.half` is a cell of an ablation; overrides change its base.

    Raises:
        UserError: the recipe, the backbone or an override's key is unknown (the message lists the known ones), an
            override has a command-line option of its own, the configuration refuses a value, or a recipe file is wrong.
    """
    refuse_stated(overrides or ())
    parent, separator, place = name.rpartition(SEPARATOR)
    if separator and not is_recipe_file(name):
        base = recipe(parent, overrides, seed=seed)
        return with_overrides(base, cell_overrides(place, base))
    if is_recipe_file(name):
        own = read_recipe_file(Path(name))
        try:
            config = recipe(own.parent, {**own.changes, **(overrides or {})}, seed=seed)
        except UserError as error:
            raise UserError(f"recipe {name}: {error}") from error
        return config.model_copy(update={"recipe": own.name})
    changes = {**(overrides or {}), "seed": seed}
    config, backbone = _named(name)(), changes.pop("clip", None)
    if backbone is not None:
        config = with_overrides(config, backbone_changes(config, backbone))
    return with_overrides(config, changes)


def _named(name: str) -> Callable[[], RunConfig]:
    try:
        return by_name(name, _RECIPES, kind="recipe")
    except UserError as error:
        raise UserError(f"{error}, or give the path of a recipe file (.yaml)") from None
