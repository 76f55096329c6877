"""The experiments of MLflow, one per protocol: made, restored and described when a step uses one."""

from typing import TYPE_CHECKING

from cascade_core.datasets.catalogue import DATA_SETS
from components.tracking.displacement import artifact_location, check_place
from components.tracking.store import sqlite_file

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOTE_TAG = "mlflow.note.content"
"""The tag by which MLflow's pages describe an experiment or a run, in Markdown."""

CROSS_DATASET = "cross-dataset"
"""The experiment of results about several data sets, which have no common protocol."""
BENCHMARK = "benchmark"
"""The experiment of the benchmark's reruns, which compare all recipes with the results accepted before."""
PREDICTIONS = "predictions"
"""The experiment of lists of pictures that a pipeline labelled."""

NOTES = {
    CROSS_DATASET: "Models of one data set, scored on others. A parent run holds the table of a pipeline.",
    PREDICTIONS: "Lists of pictures that a pipeline labelled: counts, failures and pixels of each class.",
    BENCHMARK: "Reruns of the benchmark: each compares all recipes over seeds with the results accepted before.",
}
STEPS = (
    "Each step is a run. The runs `workflow`, `reproduce` and those of pipelines hold the runs of their steps, with the best "
    "scores and the page of the results."
)


def experiment_id(client: "MlflowClient", name: str) -> str:
    """Return the id of the experiment `name`; create it if it is missing, restore it if it was deleted.

    Describes it if it has no description, not even an empty one.

    Raises:
        UserError: the store was moved or copied, so that files would go into another folder.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        file = sqlite_file(client.tracking_uri)
        # Artifacts lie beside a sqlite file; other stores have a location of their own.
        location = artifact_location(file) if file else None
        try:
            return client.create_experiment(
                name, artifact_location=location, tags={NOTE_TAG: description(name)}
            )
        except MlflowException:
            # Another process may have created it in between.
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        try:
            client.restore_experiment(experiment.experiment_id)
        except MlflowException:
            # Another process may have restored it in between.
            if client.get_experiment(experiment.experiment_id).lifecycle_stage == "deleted":
                raise
    check_place(client, experiment)
    if NOTE_TAG not in experiment.tags:
        client.set_experiment_tag(experiment.experiment_id, NOTE_TAG, description(name))
    return experiment.experiment_id


def description(name: str) -> str:
    """Describe an experiment in Markdown, with the classes of a public protocol."""
    if name in NOTES:
        return NOTES[name]
    for data_set in DATA_SETS:
        for split in data_set.protocols:
            if split.name == name:
                unseen = ", ".join(split.unseen_names) or "none"
                what = f"**{data_set.title}**, protocol `{name}`: {split.num_classes} classes, of which unseen: {unseen}."
                return f"{what}\n\n{STEPS}"
    what = f"Protocol `{name}`; the run of the step `splits` has the numbers of its classes."
    return f"{what}\n\n{STEPS}"
