"""The whole workflow as a Kubeflow pipeline: for every recipe, train, self-train, evaluate, profile, register."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kfp import dsl

from components import ops
from pipelines.graphs.defaults import IMAGE_SETS, MARGINS, PROTOCOL, RECIPES, SELF_TRAINING, SPLIT
from pipelines.graphs.training import offered, self_trained, trained
from pipelines.kubeflow.checks import (
    check_image_sets,
    check_margins,
    check_places,
    check_recipes,
    check_self_training,
)
from pipelines.kubeflow.resources import Resources
from pipelines.kubeflow.steps import Steps

NAME = "zero-shot-segmentation"


def zero_shot_pipeline(table: Mapping[str, Resources]) -> Any:
    """Give the pipeline, each step with its resources of `table`.

    `raw` and `clip` are folders, as the steps see them, or s3:// addresses; `image_sets`, `overrides` and
    `margins` (of the gate) are JSON; a `limit` of 0 evaluates all pictures of the split.
    """
    step = Steps(table)

    @dsl.pipeline(name=NAME, description="Zero-shot segmentation: every recipe, inductive and transductive.")
    def zero_shot(
        raw: str,
        clip: str,
        protocol: str = PROTOCOL,
        image_sets: str = IMAGE_SETS,
        recipes: list = RECIPES,
        overrides: str = "{}",
        seed: int = 0,
        split: str = SPLIT,
        self_training: str = SELF_TRAINING,
        limit: int = 0,
        margins: str = MARGINS,
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
            with dsl.ParallelFor(items=runs, name="every-recipe") as run:
                ready = replace(data, data_hash=run.data_hash)
                inductive = trained(
                    step.stated, ready, recipe=run.recipe, overrides=overrides, seed=seed, scoring=scoring
                )
                transductive = self_trained(
                    step.stated, ready, inductive, mode=self_training, overrides=overrides, scoring=scoring
                )
                offered(step.stated, ready, (inductive, transductive), {"margins": margins})

            step(
                ops.report,
                mlflow_run=mlflow_run,
                inductive=inductive.evaluation.collected,
                transductive=transductive.evaluation.collected,
                costs=inductive.cost.collected,
                trained=inductive.model.collected,
                self_trained=transductive.model.collected,
            )

    return zero_shot


def check_parameters(values: Mapping[str, Any]) -> None:
    """Check what a cluster would find out only as it runs; parameters left out have their defaults.

    Raises:
        UserError: a place is no folder's, or recipe, override, protocol, split, or self-training mode is unknown or does not fit.
    """
    recipes, overrides = values.get("recipes", RECIPES), values.get("overrides", "{}")
    check_places(values, "raw", "clip")
    check_recipes(recipes, overrides, values.get("protocol", PROTOCOL))
    check_image_sets(values.get("image_sets", IMAGE_SETS), values.get("split", SPLIT))
    check_self_training(values.get("self_training", SELF_TRAINING))
    check_margins(values.get("margins", MARGINS))
