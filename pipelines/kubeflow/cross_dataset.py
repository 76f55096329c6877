"""One checkpoint on many data sets: each is prepared and scored by itself, and all come into one table."""

import json
from collections.abc import Mapping
from typing import Any

from kfp import dsl

from cascade_core.errors import UserError
from components import ops
from components.tracking.pipeline_run import CROSS_DATASET
from pipelines.kubeflow.checks import (
    check_background,
    check_image_sets,
    check_place,
    check_places,
    check_protocol,
)
from pipelines.kubeflow.resources import Resources
from pipelines.kubeflow.steps import Steps

NAME = "cross-dataset"
FIELDS = ("raw", "protocol", "image_sets", "split")
"""What a target says, all of it text: its folder, label set, image sets (JSON), and the split that is scored."""
OWN = ("background",)
"""What it may say, in place of the parameter of that name."""


def cross_dataset_pipeline(table: Mapping[str, Resources]) -> Any:
    """Give the pipeline, each step with its resources of `table`.

    `checkpoint` (such as .../train/zegclip/final) and `clip` are folders, as the steps see them; `targets` is a
    list of mappings of `FIELDS`; a `limit` of 0 evaluates all pictures of each split. `background` says which
    pixels are background (`dropped`, `threshold=0.3`, `prompts=sky, wall`), of every target that does not say so
    itself: Context's 60 classes want a policy, ADE20K's maps have no background.
    """
    step = Steps(table)

    @dsl.pipeline(name=NAME, description="One checkpoint, many data sets.")
    def cross_dataset(
        checkpoint: str, clip: str, targets: list, limit: int = 0, background: str = "dropped"
    ) -> None:
        with step.tracked(NAME, CROSS_DATASET) as mlflow_run:
            told = step(ops.told, mlflow_run=mlflow_run, items=targets, background=background)
            with dsl.ParallelFor(items=told.output, name="every-target") as target:
                prepared = step(
                    ops.prepare_target,
                    mlflow_run=target.mlflow_run,
                    raw=target.raw,
                    clip=clip,
                    checkpoint=checkpoint,
                    protocol=target.protocol,
                    image_sets=target.image_sets,
                    background=target.background,
                )
                evaluated = step(
                    ops.evaluate_target,
                    raw=target.raw,
                    checkpoint=checkpoint,
                    prepared=prepared.outputs["prepared"],
                    splits=prepared.outputs["splits"],
                    text=prepared.outputs["text"],
                    protocol=target.protocol,
                    split=target.split,
                    limit=limit,
                    background=target.background,
                )
            step(
                ops.compare_targets,
                mlflow_run=mlflow_run,
                evaluations=dsl.Collected(evaluated.outputs["evaluation"]),
            )

    return cross_dataset


def check_parameters(values: Mapping[str, Any]) -> None:
    """Check what a cluster would find out only as it runs.

    Raises:
        UserError: there is no target, or one lacks a field, or names an unknown protocol or split, or one with which
            the background policy does not go.
    """
    check_places(values, "checkpoint", "clip")
    targets = values.get("targets", [])
    if not targets:
        raise UserError(f"parameter targets is empty; give at least one mapping of {', '.join(FIELDS)}")
    for position, target in enumerate(targets):
        _check_target(f"targets[{position}]", target, values.get("background", "dropped"))


def _check_target(where: str, target: Any, background: str) -> None:
    if not isinstance(target, dict) or set(target) - set(OWN) != set(FIELDS):
        raise UserError(
            f"parameter {where} is {json.dumps(target)}; expected a mapping of {', '.join(FIELDS)}, "
            f"and {', '.join(OWN)} if it differs"
        )
    if stray := [name for name, value in target.items() if not isinstance(value, str)]:
        raise UserError(f"parameter {where}: {', '.join(stray)} must be text (image_sets as JSON in quotes)")
    check_place(f"{where}.raw", target["raw"])
    check_protocol(f"{where}.protocol", target["protocol"])
    check_image_sets(target["image_sets"], target["split"])
    check_background(f"{where}.background", target.get("background", background), target["protocol"])
