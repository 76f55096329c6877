"""The items of the pipelines' loops: the step before a loop makes them.

They carry all that their iterations read, because `kfp.local` 2.17 replaces, within a loop, outputs of steps outside the
loop by the loop's item.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from cascade_core.configs.ablations import cells_of

NO_SEED = -1
"""This number stands for an unknown seed."""


def champions_of(models: str, recipes: Sequence[str], protocol: str) -> dict[str, dict[str, Any]]:
    """Return the address and the seed of every recipe's champion; {} unless `models` is "champions".

    Raises:
        UserError: a recipe has no champion, or the registry cannot be read.
    """
    if models != "champions":
        return {}
    from components.registry import champions

    versions = champions.every_champion(recipes, protocol=protocol)
    return {
        recipe: {"model": version.uri, "seed": int(version.tags.get("seed", NO_SEED))}
        for recipe, version in versions.items()
    }


def runs(
    recipes: Sequence[str],
    seeds: Sequence[float] | None,
    champions: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return an item for each recipe (of a theme of ablations, for each cell): with each seed, if there are seeds, or with its champion, if there are champions.

    The first seed's item says that the report shows single pictures of it.
    """
    each = [{"seed": int(seed), "pictures": not place} for place, seed in enumerate(seeds or ())] or [{}]
    return [
        {"recipe": recipe, **part}
        for recipe in cells_of(recipes)
        for part in ([champions[recipe]] if champions else each)
    ]


def targets(stated: Sequence[Mapping[str, Any]], background: str, *, mlflow_run: str) -> list[dict[str, Any]]:
    """Return an item for each target: its fields, with `background` unless it has its own, its name and the pipeline's run."""
    return [
        {"background": background, **target, "target": target_name(target), "mlflow_run": mlflow_run}
        for target in stated
    ]


def shards(number: int) -> list[dict[str, str]]:
    """Return an item for each shard of a list."""
    return [{"shard": f"{index}/{number}"} for index in range(number)]


def target_name(target: Mapping[str, Any]) -> str:
    """Name a target by its protocol and split; several data sets may have the same."""
    protocol = PurePosixPath(str(target.get("protocol", ""))).name
    return f"{protocol}, {target.get('split', '')}"
