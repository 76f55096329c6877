"""What the run of a whole pipeline shows on MLflow's page: best scores, a description, the page of its results, pictures."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from components.tracking.experiments import NOTE_TAG
from components.tracking.faults import first_line, store_unavailable
from components.tracking.page_links import run_note

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

KFP_TAG = "kfp_run"
TAG_LENGTH = 5000
GATHERED = {"data_hash": "data_hash", "split": "split", "method": "methods", "seed": "seeds"}
"""Tags that a parent copies from its steps, with their names there."""
BEST = {"hiou": "hIoU", "miou_seen": "mIoU(S)", "miou_unseen": "mIoU(U)"}
"""Scores whose best value over the models is a metric of the parent, with the papers' names of them."""
COMPARISON, CONFUSION = "comparison", "confusion"
PICTURES = {
    COMPARISON: "pictures with their truth and the labels of each method",
    CONFUSION: "the confusion matrix of each method",
}
"""Folders of pictures that may lie beside the page of results, with what they show."""
TABLES = {
    "histogram.csv": "the pictures and pixels of each class",
    "failures.csv": "pictures that failed, with the error",
}
"""Tables that may lie beside the page of results, with what they hold."""
COUNTING = "gather"
"""The step whose metrics are those of the whole pipeline: the counts of all shards."""
METRIC_BATCH = 500
"""MLflow limits a call to 1000 metrics."""


class Scored(NamedTuple):
    """A model, named for people, and its scores as fractions; a score that is undefined is left out."""

    name: str
    scores: Mapping[str, float]


class Results(NamedTuple):
    """The results of a whole run: their page, if there is one, and the models on it; None: those that the steps scored."""

    page: Path | None = None
    models: Sequence[Scored] | None = None


def gather(client: "MlflowClient", run_id: str, steps: Sequence["Run"], models: Sequence[Scored]) -> None:
    """Copy data hash, split, recipes, methods and seeds of the steps to the pipeline's run, the models' best scores, and counts."""
    for name, gathered in GATHERED.items():
        if values := sorted({step.data.tags[name] for step in steps if name in step.data.tags}):
            client.set_tag(run_id, gathered, ", ".join(values)[:TAG_LENGTH])
    if recipes := sorted({step.data.params["recipe"] for step in steps if "recipe" in step.data.params}):
        client.set_tag(run_id, "recipes", ", ".join(recipes)[:TAG_LENGTH])
    for name in BEST:
        if best := best_model(models, name):
            client.log_metric(run_id, f"best_{name}", best.scores[name])
    for step in steps:
        if step.data.tags.get("step") == COUNTING:
            _copy_metrics(client, run_id, step)


def _copy_metrics(client: "MlflowClient", run_id: str, step: "Run") -> None:
    from mlflow.entities import Metric

    points = [Metric(name, value, step.info.start_time, 0) for name, value in step.data.metrics.items()]
    for first in range(0, len(points), METRIC_BATCH):
        client.log_batch(run_id, metrics=points[first : first + METRIC_BATCH])


def evaluated(steps: Sequence["Run"]) -> list[Scored]:
    """Return the models that steps scored, on the report's split if there is a report."""
    splits = {step.data.tags.get("split") for step in steps if step.data.tags.get("step") == "report"}
    return [
        Scored(str(step.info.run_name).removeprefix("evaluate "), step.data.metrics)
        for step in steps
        if step.data.tags.get("step") == "evaluate"
        and (len(splits) != 1 or splits <= {None, step.data.tags.get("split")})
    ]


def best_model(models: Sequence[Scored], score: str) -> Scored | None:
    """Return the model with the highest value of a score; None if none has the score."""
    with_score = [model for model in models if score in model.scores]
    return max(with_score, key=lambda model: model.scores[score], default=None)


def show(client: "MlflowClient", run: "Run", steps: Sequence["Run"], results: Results) -> None:
    """Give a pipeline's run its tags, best scores, page, pictures and description.

    An artifact store that is away costs a warning, and page and pictures: they are artifacts of the step, too.
    """
    run_id, models = run.info.run_id, evaluated(steps) if results.models is None else results.models
    gather(client, run_id, steps, models)
    artifacts = ""
    try:
        artifacts = _keep(client, run_id, results.page)
    except Exception as error:
        if not store_unavailable(error):
            raise
        log.warning("the pipeline's MLflow run lacks the page of its results (%s)", first_line(error))
    note = [source(run.data.tags), _best(models), artifacts]
    client.set_tag(run_id, NOTE_TAG, "\n\n".join(filter(None, note)))


def source(tags: Mapping[str, str]) -> str:
    """Return the first line of a description, by a run's tags: Kubeflow's run, or the folder that the pipeline works in."""
    if kfp_run := tags.get(KFP_TAG):
        return run_note(kfp_run)
    return f"`{tags.get('pipeline')}` in the folder `{Path.cwd().name}`"


def _keep(client: "MlflowClient", run_id: str, page: Path | None) -> str:
    """Log the page, and the folders of pictures and tables beside it, and return the sentences that name them."""
    if page is None:
        return ""
    client.log_artifact(run_id, str(page))
    lines = [f"The page of the results is the artifact `{page.name}`."]
    for name, what in PICTURES.items():
        if (folder := page.parent / name).is_dir():
            client.log_artifacts(run_id, str(folder), name)
            lines.append(f"`{name}` shows {what}.")
    for name, what in TABLES.items():
        if (table := page.parent / name).is_file():
            client.log_artifact(run_id, str(table))
            lines.append(f"`{name}` holds {what}.")
    return " ".join(lines)


def _best(models: Sequence[Scored]) -> str:
    """Name the best model with its scores in percent; "" without scores."""
    best = best_model(models, "hiou") or best_model(models, "miou_seen")
    if best is None:
        return ""
    scores = [f"{title} {100 * best.scores[name]:.1f}" for name, title in BEST.items() if name in best.scores]
    return f"Best: **{best.name}**, {', '.join(scores)}."
