"""The predict pipeline: labels a list of pictures in shards, and joins them in one table."""

from collections.abc import Mapping
from typing import Any, get_args

from kfp import dsl

from cascade_core.configs.config import Precision
from cascade_core.errors import UserError
from cascade_core.labels.background import parse_background
from cascade_core.labels.label_file import is_label_file
from cascade_core.runtime.option_texts import fraction, numbers
from components.inputs.labels_given import labels_at
from components.ops import prediction
from components.storage.places import check_place
from components.tracking.experiments import PREDICTIONS
from pipelines.graphs.defaults import SHARDS
from pipelines.kubeflow.checks import check_places, is_named_model
from pipelines.kubeflow.resources import Resources
from pipelines.kubeflow.steps import Steps

NAME = "prediction"
"""Not that of a step: kfp takes a component of the pipeline's name for the pipeline when it loads the YAML."""


def predict_pipeline(table: Mapping[str, Resources]) -> Any:
    """Build the pipeline; `table` holds the resources of each step, and how many shards are labelled at a time.

    `pictures` is a folder, pattern, tar or list in the steps' pods, or an s3:// address; `out` is the place of all
    results, a folder on the volume or an s3:// address. `labels` are names by commas, a data set's name, or the place of
    a label file. An empty text, and a `batch` or `short_side` of 0, stand for the model's own.
    """
    step = Steps(table)

    @dsl.pipeline(name=NAME, description="A list of pictures, labelled in shards; one table.")
    def predict(
        pictures: str,
        model: str,
        labels: str,
        out: str,
        shards: int = SHARDS,
        clip: str = "",
        batch: int = 0,
        background: str = "",
        scales: str = "1",
        flip: bool = False,
        precision: str = "",
        short_side: int = 0,
        seen_penalty: str = "",
        keep: int = 0,
    ) -> None:
        with step.mlflow_run(NAME, PREDICTIONS) as opened:
            listed = step(
                prediction.list_pictures,
                mlflow_run=opened["run"],
                pictures=pictures,
                place=out,
                shards=shards,
            )
            with dsl.ParallelFor(
                items=listed.outputs["Output"],
                name="every-shard",
                parallelism=table["predict"].parallelism,
            ) as part:
                labelled = step(
                    prediction.predict,
                    listed=listed.outputs["listed"],
                    shard=part.shard,
                    model=model,
                    labels=labels,
                    place=out,
                    clip=clip,
                    batch=batch,
                    background=background,
                    scales=scales,
                    flip=flip,
                    precision=precision,
                    short_side=short_side,
                    seen_penalty=seen_penalty,
                )
            gathered = step(
                prediction.gather,
                mlflow_run=opened["run"],
                place=out,
                runs=dsl.Collected(labelled.outputs["index"]),
            )
            step.prune(keep, gathered)

    return predict


def check_parameters(values: Mapping[str, Any]) -> None:
    """Check parameters before submission; those that are left out have their defaults.

    Raises:
        UserError: an address is wrong, there are no labels, the background policy or the scales cannot be parsed, the
            precision is none, or a number is out of its range.
    """
    check_places({name: value for name, value in values.items() if name != "clip" or value})
    for name in ("pictures", "out"):
        check_place(name, values.get(name, ""))
    model, labels = values.get("model", ""), values.get("labels", "")
    if not is_named_model(model):
        check_place("model", model)
    if is_label_file(labels):
        check_place("labels", labels)
    elif not labels.strip():
        raise UserError(
            'parameter labels is empty; give names by commas, such as "zebra, grass", or a label file'
        )
    else:
        labels_at(labels)
    if background := values.get("background", ""):
        parse_background(background)
    if not numbers("parameter scales", values.get("scales", "1"), float, example="0.75,1,1.25"):
        raise UserError("parameter scales is empty; give numbers by commas, such as 0.75,1,1.25")
    if (precision := values.get("precision", "")) not in ("", *get_args(Precision)):
        raise UserError(
            f"parameter precision is {precision!r}; give {' or '.join(get_args(Precision))}, because auto depends on the node, "
            "and all shards must compute alike"
        )
    fraction("parameter seen_penalty", values.get("seen_penalty", ""))
    for name, default, least in (("shards", SHARDS, 1), ("batch", 0, 0), ("short_side", 0, 0)):
        if (number := values.get(name, default)) < least:
            raise UserError(f"parameter {name} is {number}; give a whole number of at least {least}")
