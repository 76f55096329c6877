"""A grid of recipes and seeds: each is trained and scored alike, and all come into one table."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kfp import dsl

from cascade_core.errors import UserError
from components import ops
from pipelines.graphs.defaults import ABLATION_RECIPES, IMAGE_SETS, PROTOCOL, SEEDS, SPLIT
from pipelines.graphs.training import trained
from pipelines.kubeflow.checks import check_image_sets, check_places, check_recipes
from pipelines.kubeflow.resources import Resources
from pipelines.kubeflow.steps import Steps

NAME = "ablation"


def ablation_pipeline(table: Mapping[str, Resources]) -> Any:
    """Give the pipeline, each step with its resources of `table`.

    Parameters are those of the zero-shot pipeline, but for several seeds; training is inductive.
    """
    step = Steps(table)

    @dsl.pipeline(name=NAME, description="Recipes times seeds, in one table.")
    def ablation(
        raw: str,
        clip: str,
        protocol: str = PROTOCOL,
        image_sets: str = IMAGE_SETS,
        recipes: list = ABLATION_RECIPES,
        seeds: list = SEEDS,
        overrides: str = "{}",
        split: str = SPLIT,
        limit: int = 0,
    ) -> None:
        scoring = {"split": split, "limit": limit}
        with step.tracked(NAME, protocol) as mlflow_run:
            data, runs = step.prepared(
                mlflow_run=mlflow_run,
                raw=raw,
                clip=clip,
                protocol=protocol,
                image_sets=image_sets,
                recipes=recipes,
                overrides=overrides,
            )
            grid = step(ops.grid, runs=runs, seeds=seeds)

            with dsl.ParallelFor(items=grid.output, name="every-run") as run:
                ready = replace(data, data_hash=run.data_hash)
                found = trained(
                    step.stated,
                    ready,
                    recipe=run.recipe,
                    overrides=overrides,
                    seed=run.seed,
                    scoring=scoring,
                    setting="",
                )

            step(
                ops.ablation_report,
                mlflow_run=mlflow_run,
                evaluations=found.evaluation.collected,
                costs=found.cost.collected,
                trained=found.model.collected,
            )

    return ablation


def check_parameters(values: Mapping[str, Any]) -> None:
    """Check what a cluster would find out only as it runs; parameters left out have their defaults.

    Raises:
        UserError: recipe, override, protocol or split is unknown or does not fit, or seeds are none.
    """
    check_places(values, "raw", "clip")
    check_recipes(
        values.get("recipes", ABLATION_RECIPES),
        values.get("overrides", "{}"),
        values.get("protocol", PROTOCOL),
    )
    check_image_sets(values.get("image_sets", IMAGE_SETS), values.get("split", SPLIT))
    seeds = values.get("seeds", SEEDS)
    if not seeds or not all(isinstance(seed, int) and not isinstance(seed, bool) for seed in seeds):
        raise UserError(f"parameter seeds is {seeds!r}; expected whole numbers, such as [0, 1, 2]")
    for name, given in (("seeds", seeds), ("recipes", values.get("recipes", ABLATION_RECIPES))):
        if len(set(given)) != len(given):
            raise UserError(f"parameter {name} is {given!r}; name each once")
