"""The cross-dataset pipeline: prepares several data sets, scores one checkpoint on each, and makes one table."""

import json
from collections.abc import Mapping
from typing import Any

from kfp import dsl

from cascade_core.errors import UserError
from components import ops
from components.storage.places import check_place
from components.tracking.pipeline_run import CROSS_DATASET
from pipelines.kubeflow.checks import check_background, check_image_sets, check_places, check_protocol
from pipelines.kubeflow.resources import Resources
from pipelines.kubeflow.steps import Steps

NAME = "cross-dataset"
FIELDS = ("raw", "protocol", "image_sets", "split")
"""The required fields of a target, all text: data folder, protocol, image sets (JSON), and the split to score."""
OPTIONAL = ("background",)
"""The optional fields of a target, which replace the pipeline's parameters of these names."""


def cross_dataset_pipeline(table: Mapping[str, Resources]) -> Any:
    """Build the pipeline; `table` holds the resources of each step.

    `checkpoint` (such as .../train/zegclip/final) and `clip` are folders in the steps' pods. `targets` is a list of
    mappings of `FIELDS`. A `limit` of 0 evaluates all pictures of each split. `background` is the policy of the targets
    without their own: `dropped`, `threshold=0.3` or `prompts=sky, wall`. Context's 60 classes need a policy;
    ADE20K's label maps have no background.
    """
    step = Steps(table)

    @dsl.pipeline(name=NAME, description="One checkpoint, many data sets.")
    def cross_dataset(
        checkpoint: str, clip: str, targets: list, limit: int = 0, background: str = "dropped"
    ) -> None:
        with step.mlflow_run(NAME, CROSS_DATASET) as mlflow_run:
            items = step(ops.target_items, mlflow_run=mlflow_run, targets=targets, background=background)
            with dsl.ParallelFor(items=items.output, name="every-target") as target:
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
                evaluation = step(
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
                evaluations=dsl.Collected(evaluation.outputs["evaluation"]),
            )

    return cross_dataset


def check_parameters(values: Mapping[str, Any]) -> None:
    """Check parameters before submission.

    Raises:
        UserError: there is no target, or a target lacks a field, has an unknown protocol or split, or has a protocol
            that the background policy does not fit.
    """
    check_places(values, "checkpoint", "clip")
    targets = values.get("targets", [])
    if not targets:
        raise UserError(f"parameter targets is empty; give at least one mapping of {', '.join(FIELDS)}")
    for position, target in enumerate(targets):
        _check_target(f"targets[{position}]", target, values.get("background", "dropped"))


def _check_target(where: str, target: Any, background: str) -> None:
    if not isinstance(target, dict) or set(target) - set(OPTIONAL) != set(FIELDS):
        raise UserError(
            f"parameter {where} is {json.dumps(target)}; expected a mapping of {', '.join(FIELDS)}, "
            f"and {', '.join(OPTIONAL)} if it differs"
        )
    if wrong := [name for name, value in target.items() if not isinstance(value, str)]:
        raise UserError(f"parameter {where}: {', '.join(wrong)} must be text (image_sets as JSON in quotes)")
    check_place(f"{where}.raw", target["raw"])
    check_protocol(f"{where}.protocol", target["protocol"])
    check_image_sets(target["image_sets"], target["split"])
    check_background(f"{where}.background", target.get("background", background), target["protocol"])
