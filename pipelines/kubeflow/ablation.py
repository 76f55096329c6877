"""The ablation pipeline: trains and scores every recipe with every seed, and puts all into one table."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kfp import dsl

from cascade_core.errors import UserError
from components.bodies.between_steps import TRAINING
from components.ops.results import index_run, report
from pipelines.graphs.defaults import ABLATION_RECIPES, IMAGE_SETS, PROTOCOL, SEEDS, SPLIT
from pipelines.graphs.training import train_and_measure
from pipelines.kubeflow.checks import check_training
from pipelines.kubeflow.resources import Resources
from pipelines.kubeflow.steps import Steps

NAME = "ablation"


def ablation_pipeline(table: Mapping[str, Resources]) -> Any:
    """Build the pipeline; `table` holds the resources of each step.

    The parameters are those of the zero-shot pipeline, except for several seeds; training is inductive.
    """
    step = Steps(table)

    @dsl.pipeline(name=NAME, description="Recipes times seeds, in one table.")
    def ablation(
        raw: str,
        clip: str,
        protocol: str = PROTOCOL,
        image_sets: str = IMAGE_SETS,
        folders: str = "",
        recipes: list = ABLATION_RECIPES,
        seeds: list = SEEDS,
        overrides: str = "{}",
        split: str = SPLIT,
        limit: int = 0,
        reuse_trainings: bool = True,
        keep: int = 0,
    ) -> None:
        scoring = {"split": split, "limit": limit}
        with step.mlflow_run(NAME, protocol) as opened:
            data, runs = step.prepare(
                mlflow_run=opened["run"],
                raw=raw,
                clip=clip,
                protocol=protocol,
                image_sets=image_sets,
                folders=folders,
                recipes=recipes,
                overrides=overrides,
                seeds=seeds,
            )
            with dsl.ParallelFor(items=runs, name="every-run") as run:
                ready = replace(data, reuse_trainings=reuse_trainings, recipe=run.recipe, seed=run.seed)
                models = train_and_measure(
                    step.run_step,
                    ready,
                    recipe=run.recipe,
                    overrides=overrides,
                    seed=run.seed,
                    scoring=scoring,
                    setting="",
                )
                indices = step.index(
                    index_run,
                    ready,
                    evaluation=models.evaluation,
                    cost=models.cost,
                    training=models.model.part(TRAINING),
                    pictures=run.pictures,
                )

            gathered = step(report, mlflow_run=opened["run"], runs=indices)
            step.prune(keep, gathered)

    return ablation


def check_parameters(values: Mapping[str, Any]) -> None:
    """Check parameters before submission; those that are left out have their defaults.

    Raises:
        UserError: as for `check_training`, or a seed is wrong, or a seed or recipe comes twice.
    """
    check_training(values, ABLATION_RECIPES)
    recipes, seeds = values.get("recipes", ABLATION_RECIPES), values.get("seeds", SEEDS)
    if not seeds or not all(isinstance(seed, int) and not isinstance(seed, bool) for seed in seeds):
        raise UserError(f"parameter seeds is {seeds!r}; expected whole numbers, such as [0, 1, 2]")
    for name, items in (("seeds", seeds), ("recipes", recipes)):
        if len(set(items)) != len(items):
            raise UserError(f"parameter {name} is {items!r}; name each once")
