"""The record of a step's run in MLflow: collected while the step works, and logged as far as the store takes it.

If the store stays unavailable, the step's folder keeps what the store lacks as `tracking.json`, next to the files
that belong to the run. `cascade-clip record FOLDER` later completes or creates the run from that.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file, sha256
from cascade_core.runtime.validation import first_error
from components.artifacts.manifest import TRACKING_FILE
from components.tracking import faults, store
from components.tracking.experiments import experiment_id
from components.tracking.pipeline_run import LEFT, PARENT_TAG, WORK_TAG, kfp_run_of, left_open

if TYPE_CHECKING:
    from mlflow import MlflowClient

RECORDED_TAG = "recorded_from"
"""Tag with the hash of the `tracking.json` that a run was made from; recording the file again finds this run."""

# MLflow limits a call to 1000 metrics and 100 parameters.
METRIC_BATCH, PARAMETER_BATCH = 500, 100


class RunRecord(BaseModel):
    """The part of a step's run that the store lacks; it has a `run_id` once the run is open.

    `protocol` is the experiment. `datasets` are name, hash and source; `metrics` are name, value, time (ms since 1970)
    and training step; `files` are names in the step's folder. `ended` is None while the step works.
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    protocol: str
    name: str
    started: int
    run_id: str | None = None
    tags: dict[str, str] = {}
    parameters: dict[str, str] = {}
    datasets: list[tuple[str, str, str]] = []
    metrics: list[tuple[str, float, int, int]] = []
    files: list[str] = []
    ended: int | None = None
    status: str = "RUNNING"


def open_run(client: "MlflowClient", record: RunRecord) -> str:
    """Open the record's run in its experiment, and return the experiment's id.

    A pipeline's step also gets the tag of the Kubeflow run.
    """
    parent = record.tags.get(PARENT_TAG)
    tags = {**(kfp_run_of(client, parent) if parent else {}), **record.tags}
    experiment = experiment_id(client, record.protocol)
    run = client.create_run(experiment, start_time=record.started, tags=tags, run_name=record.name)
    record.run_id = run.info.run_id
    record.tags.clear()
    # After ours is open: a request that was sent again may have opened a second one.
    for left in (
        left_open(client, experiment, tags[WORK_TAG], but=run.info.run_id) if WORK_TAG in tags else ()
    ):
        client.set_tag(left, "error", LEFT)
        client.set_terminated(left, "KILLED")
    return experiment


def send(client: "MlflowClient", record: RunRecord) -> None:
    """Log the record, and remove from it what the store has taken; other threads may add metrics meanwhile."""
    from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag

    assert record.run_id is not None
    parameters = [Param(name, value) for name, value in record.parameters.items()]
    for first in range(0, len(parameters), PARAMETER_BATCH):
        client.log_batch(record.run_id, params=parameters[first : first + PARAMETER_BATCH])
    record.parameters.clear()
    if record.tags:
        client.log_batch(record.run_id, tags=[RunTag(name, value) for name, value in record.tags.items()])
        record.tags.clear()
    while points := record.metrics[:METRIC_BATCH]:
        client.log_batch(record.run_id, metrics=[Metric(*point) for point in points])
        del record.metrics[: len(points)]
    if record.datasets:
        datasets = [Dataset(name, digest, "local", source) for name, digest, source in record.datasets]
        client.log_inputs(record.run_id, [DatasetInput(dataset) for dataset in datasets])
        record.datasets.clear()


def log_folder(client: "MlflowClient", record: RunRecord, folder: Path) -> None:
    """Log the run of a finished step: the record, its files in `folder`, and its end.

    A repetition adds nothing: MLflow merges equal metric points, and everything else replaces itself.
    """
    if record.run_id is None:
        open_run(client, record)
    assert record.run_id is not None
    send(client, record)
    while record.files:
        path = Path(record.files[0])
        parent = None if path.parent == Path() else path.parent.as_posix()
        client.log_artifact(record.run_id, str(folder / path), parent)
        del record.files[0]
    client.set_terminated(record.run_id, record.status, record.ended)


def write_record(record: RunRecord, folder: Path) -> None:
    """Write the record to a step's folder."""
    with new_file(folder / TRACKING_FILE) as path:
        path.write_text(record.model_dump_json() + "\n", encoding="utf-8")


def record_folders(folders: Sequence[Path]) -> list[str]:
    """Log the runs of all steps that have a record in or below `folders`, and return the runs' ids.

    Changes nothing in the folders. A run that an earlier call created is completed, not created again.

    Raises:
        UserError: tracking is off, there is no `tracking.json`, or one is damaged or refused by the store; the
            message names the file.
    """
    files = sorted({path for folder in folders for path in folder.rglob(TRACKING_FILE)})
    if not files:
        raise UserError(
            f"{', '.join(map(str, folders))}: no {TRACKING_FILE} in or below; a tracked step leaves one if the MLflow "
            "store becomes unavailable, and logs the folder in a warning"
        )
    store.require_store("record in")
    client = store.open_store()
    return [_log_file(client, path) for path in files]


def _log_file(client: "MlflowClient", path: Path) -> str:
    try:
        record = RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise UserError(f"{path}: {first_error(error)}; was it edited?") from error
    try:
        if record.run_id is None:
            digest = record.tags[RECORDED_TAG] = sha256(path)
            experiment = experiment_id(client, record.protocol)
            for run in client.search_runs([experiment], f"tags.{RECORDED_TAG} = '{digest}'", max_results=1):
                record.run_id = run.info.run_id
        log_folder(client, record, path.parent)
    except Exception as error:
        if not (isinstance(error, OSError) or faults.of_store(error)):
            raise
        reason, way_out = faults.explained(error, "correct that")
        raise UserError(
            f"{path} was not taken by the MLflow store at {store.masked_uri()} ({reason}); {way_out}, and record again, "
            "which adds nothing twice"
        ) from error
    assert record.run_id is not None
    return record.run_id
