"""The cross-dataset pipeline: prepares several data sets, scores one checkpoint on each, and makes one table."""

from collections.abc import Mapping
from typing import Any

from kfp import dsl
from pydantic import BaseModel, ConfigDict

from cascade_core.errors import UserError
from cascade_core.runtime.validation import validated
from components.ops.data import evaluate_target, prepare_target
from components.ops.results import compare_targets
from components.storage.places import check_place
from components.tracking.experiments import CROSS_DATASET
from pipelines.kubeflow.checks import check_background, check_image_sets, check_places, check_protocol
from pipelines.kubeflow.resources import Resources
from pipelines.kubeflow.steps import Steps

NAME = "cross-dataset"


class Target(BaseModel):
    """A target: its data folder, protocol, image sets (JSON), the split to score, and a background policy of its own."""

    model_config = ConfigDict(extra="forbid")

    raw: str
    protocol: str
    image_sets: str
    split: str
    background: str | None = None


def cross_dataset_pipeline(table: Mapping[str, Resources]) -> Any:
    """Build the pipeline; `table` holds the resources of each step.

    `checkpoint` (such as .../train/zegclip/final) and `clip` are folders in the steps' pods. `targets` is a list of
    mappings (`Target`). A `limit` of 0 evaluates all pictures of each split. `background` is the policy of targets that
    state none: `dropped`, `threshold=0.3` or `prompts=sky, wall`. Context's 60 classes need a policy;
    ADE20K's label maps have no background.
    """
    step = Steps(table)

    @dsl.pipeline(name=NAME, description="One checkpoint, many data sets.")
    def cross_dataset(
        checkpoint: str, clip: str, targets: list, limit: int = 0, background: str = "dropped", keep: int = 0
    ) -> None:
        with step.mlflow_run(NAME, CROSS_DATASET, targets=targets, background=background) as opened:
            with dsl.ParallelFor(items=opened["Output"], name="every-target") as target:
                prepared = step(
                    prepare_target,
                    mlflow_run=target.mlflow_run,
                    raw=target.raw,
                    clip=clip,
                    checkpoint=checkpoint,
                    protocol=target.protocol,
                    image_sets=target.image_sets,
                    background=target.background,
                    target=target.target,
                )
                evaluation = step(
                    evaluate_target,
                    raw=target.raw,
                    checkpoint=checkpoint,
                    prepared=prepared.outputs["prepared"],
                    splits=prepared.outputs["splits"],
                    text=prepared.outputs["text"],
                    protocol=target.protocol,
                    split=target.split,
                    limit=limit,
                    background=target.background,
                    target=target.target,
                )
            gathered = step(
                compare_targets,
                mlflow_run=opened["run"],
                runs=dsl.Collected(evaluation.outputs["index"]),
            )
            step.prune(keep, gathered)

    return cross_dataset


def check_parameters(values: Mapping[str, Any]) -> None:
    """Check parameters before submission.

    Raises:
        UserError: there is no target, or a target lacks a field, has an unknown protocol or split, or has a protocol
            that the background policy does not fit.
    """
    check_places(values)
    targets = values.get("targets", [])
    fields = f"a target is a mapping of {', '.join(Target.model_fields)} (optional)"
    if not targets:
        raise UserError(f"parameter targets is empty; give at least one target: {fields}")
    for position, content in enumerate(targets):
        place = f"targets[{position}]"
        target = validated(Target, content, source=f"parameter {place}", way_out=fields)
        check_place(f"{place}.raw", target.raw)
        check_protocol(f"{place}.protocol", target.protocol)
        check_image_sets(target.image_sets, target.split)
        background = target.background or values.get("background", "dropped")
        check_background(f"{place}.background", background, target.protocol)
