"""The whole workflow as a Kubeflow pipeline: for every recipe, train, self-train, evaluate, profile, register."""

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from components import ops
from components.results.margins import Margins
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
PROTOCOL = "mini-18-6"
RECIPES = ["mini_zegclip", "mini_cascade_clip"]
IMAGE_SETS = '{"train": "train", "val": "val", "test": "test"}'
MARGINS = Margins().model_dump_json()
"""What `params.yaml` says under `gate`: a pipeline that is submitted has no file beside it."""


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
        split: str = "test",
        self_training: str = "oracle",
        limit: int = 0,
        margins: str = MARGINS,
    ) -> None:
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
                train = step(
                    ops.train,
                    **data,
                    clip=clip,
                    data_hash=run.data_hash,
                    recipe=run.recipe,
                    overrides=overrides,
                    seed=seed,
                )
                trained = train.outputs["trained"]
                inductive = step(ops.evaluate, **data, trained=trained, split=split, limit=limit)
                inductive.set_display_name("evaluate inductive")
                cost = step(ops.profile, trained=trained, text=data["text"])

                self_train = step(
                    ops.self_train, **data, trained=trained, mode=self_training, overrides=overrides
                )
                self_trained = self_train.outputs["self_trained"]
                transductive = step(ops.evaluate, **data, trained=self_trained, split=split, limit=limit)
                transductive.set_display_name("evaluate transductive")

                registered: list[dsl.PipelineTask] = []
                for model, evaluation in ((trained, inductive), (self_trained, transductive)):
                    gate = step(ops.gate, evaluation=evaluation.outputs["evaluation"], margins=margins)
                    # One after the other: the second is held against the champion that the first may become.
                    gate.after(*registered)
                    registered.append(
                        step(
                            ops.register,
                            trained=model,
                            clip=clip,
                            evaluation=evaluation.outputs["evaluation"],
                            cost=cost.outputs["cost"],
                            decision=gate.outputs["decision"],
                        )
                    )

            step(
                ops.report,
                mlflow_run=mlflow_run,
                inductive=dsl.Collected(inductive.outputs["evaluation"]),
                transductive=dsl.Collected(transductive.outputs["evaluation"]),
                costs=dsl.Collected(cost.outputs["cost"]),
                trained=dsl.Collected(trained),
                self_trained=dsl.Collected(self_trained),
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
    check_image_sets(values.get("image_sets", IMAGE_SETS), values.get("split", "test"))
    check_self_training(values.get("self_training", "oracle"))
    check_margins(values.get("margins", MARGINS))
