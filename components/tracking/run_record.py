"""What a step's run in MLflow holds: noted while the step works, and logged as far as the store takes it.

Where the store stays away, the step's folder keeps what the store lacks as `tracking.json`, beside its own files,
which are the run's. `cascade-clip record FOLDER` makes the run from that afterwards, as the step's end does.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from cascade_core.errors import UserError
from cascade_core.runtime.files import disk_is_full, new_file, sha256
from cascade_core.runtime.validation import first_error
from components.artifacts import TRACKING_FILE
from components.tracking.pipeline_run import PARENT_TAG, kfp_run_of
from components.tracking.store import (
    experiment_id,
    first_line,
    of_store,
    open_store,
    require_store,
    shown_uri,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

RECORDED_TAG = "recorded_from"
"""Holds the hash of the `tracking.json` that a run was made from, so that recording that again finds the run."""

# What one call to the store may hold (MLflow's own limits: 1000 metrics, 100 parameters).
METRIC_BATCH, PARAMETER_BATCH = 500, 100


class RunRecord(BaseModel):
    """What the store lacks of a step's run, which is opened already if it has an id.

    Metrics are name, value, time (ms) and step; data sets are name, hash and source; files are names of files and
    folders in the step's folder. Without an end the step still runs.
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


def open_run(client: "MlflowClient", record: RunRecord) -> None:
    """Open the record's run in its protocol's experiment; below a pipeline's it says that one's Kubeflow run, too."""
    parent = record.tags.get(PARENT_TAG)
    tags = {**(kfp_run_of(client, parent) if parent else {}), **record.tags}
    experiment = experiment_id(client, record.protocol)
    run = client.create_run(experiment, start_time=record.started, tags=tags, run_name=record.name)
    record.run_id = run.info.run_id
    record.tags.clear()


def send(client: "MlflowClient", record: RunRecord) -> None:
    """Log what is noted, and strike out of the record what the store has; another thread may go on noting metrics."""
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
        read = [Dataset(name, digest, "local", source) for name, digest, source in record.datasets]
        client.log_inputs(record.run_id, [DatasetInput(dataset) for dataset in read])
        record.datasets.clear()


def log_folder(client: "MlflowClient", record: RunRecord, folder: Path) -> None:
    """Log all of a step that has ended: what is noted, its files in `folder`, and how it ended.

    Logging the same again adds nothing: MLflow keeps one of equal metric points, and the rest replaces itself.
    """
    if record.run_id is None:
        open_run(client, record)
    assert record.run_id is not None
    send(client, record)
    while record.files:
        path = folder / record.files[0]
        below = (path if path.is_dir() else path.parent).relative_to(folder).as_posix()
        log = client.log_artifacts if path.is_dir() else client.log_artifact
        log(record.run_id, str(path), None if below == "." else below)
        del record.files[0]
    client.set_terminated(record.run_id, record.status, record.ended)


def write_record(record: RunRecord, folder: Path) -> None:
    """Keep in a step's folder what the store lacks of its run."""
    with new_file(folder / TRACKING_FILE) as path:
        path.write_text(record.model_dump_json() + "\n")


def record_folders(folders: Sequence[Path]) -> list[str]:
    """Make the runs of all steps whose folders lie in or below `folders`, and return their ids.

    The folders stay as they are; a run that was made from one before is completed, and not made again.

    Raises:
        UserError: there is no `tracking.json`, one is damaged, tracking is off, or the store does not take one; the
            message names the file.
    """
    kept = sorted({path for folder in folders for path in folder.rglob(TRACKING_FILE)})
    if not kept:
        raise UserError(
            f"{', '.join(map(str, folders))}: no {TRACKING_FILE} in or below; a step leaves one if it was tracked and "
            "the MLflow store went away, and its warning names the folder"
        )
    require_store("record in")
    client = open_store()
    return [_recorded(client, path) for path in kept]


def lost(error: BaseException) -> bool:
    """Say whether an error of a call means that the store cannot be reached, or not used, for now.

    Wrong values are the caller's fault, and a full disk has no room for a record either: neither is lost.
    """
    if isinstance(error, OSError):
        return not disk_is_full(error)
    return of_store(error) and getattr(error, "error_code", None) != "INVALID_PARAMETER_VALUE"


def _recorded(client: "MlflowClient", path: Path) -> str:
    record = _read(path)
    try:
        if record.run_id is None:
            record.tags[RECORDED_TAG] = sha256(path)
            wanted = f"tags.{RECORDED_TAG} = '{record.tags[RECORDED_TAG]}'"
            for run in client.search_runs([experiment_id(client, record.protocol)], wanted, max_results=1):
                record.run_id = run.info.run_id
        log_folder(client, record, path.parent)
    except Exception as error:
        if not (isinstance(error, OSError) or of_store(error)):
            raise
        raise UserError(
            f"{path} was not taken by the MLflow store at {shown_uri()} ({first_line(error)}); mend that and record "
            "again, which adds nothing twice"
        ) from error
    assert record.run_id is not None
    return record.run_id


def _read(path: Path) -> RunRecord:
    try:
        return RunRecord.model_validate_json(path.read_text())
    except ValidationError as error:
        raise UserError(f"{path}: {first_error(error)}; was it edited?") from error
