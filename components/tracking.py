"""What a step tells MLflow: parameters, metrics over time, tables, pictures, data hash and commit, as one run.

The store is a sqlite file below the working folder unless `MLFLOW_TRACKING_URI` names another one;
`CASCADE_TRACKING=off` tracks nothing. MLflow is imported when a run opens: it costs seconds, and stays away
from whatever only reads or computes.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.artifacts import git_commit

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Metric

STORE_FOLDER = Path("mlruns")
URI_VARIABLE, SWITCH_VARIABLE = "MLFLOW_TRACKING_URI", "CASCADE_TRACKING"

# What one call to the store may hold (MLflow's own limits: 1000 metrics, 100 parameters, 6000 characters).
METRIC_BATCH, PARAMETER_BATCH, VALUE_LENGTH = 500, 100, 6000
FLUSH_SECONDS = 5.0
"""Metrics wait this long at most, so that a running training can be watched."""


class StepTracker:
    """A step's record that keeps nothing: what a block gets while tracking is off, and the methods of any."""

    run_id: str | None = None

    def metrics(self, values: Mapping[str, float], *, step: int = 0) -> None:
        """Note values at a step; a value that is not a number stays one."""

    def tags(self, values: Mapping[str, object]) -> None:
        """Note facts to filter runs by."""

    def table(self, table: "pd.DataFrame", name: str) -> None:
        """Store a table as `name` (ending in .csv), which MLflow's pages show as a table."""

    def file(self, path: Path, *, below: str | None = None) -> None:
        """Store one file, such as a plot, in the run's artifact folder `below`."""

    def folder(self, path: Path, *, below: str | None = None) -> None:
        """Store a folder's files, such as pictures or a checkpoint, in the run's artifact folder `below`."""

    def dataset(self, name: str, data_hash: str, *, source: str) -> None:
        """Say which data the run read."""

    def flush(self) -> None:
        """Send what is waiting."""


class MlflowTracker(StepTracker):
    """A step's record in MLflow: one run, written in batches."""

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self.client = client
        self.run_id: str = run_id
        self._waiting: list[Metric] = []
        self._flushed = time.monotonic()

    def metrics(self, values: Mapping[str, float], *, step: int = 0) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._waiting += [Metric(name, float(value), now, step) for name, value in values.items()]
        if len(self._waiting) >= METRIC_BATCH or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def tags(self, values: Mapping[str, object]) -> None:
        from mlflow.entities import RunTag

        named = [RunTag(name, str(value)[:VALUE_LENGTH]) for name, value in values.items()]
        self.client.log_batch(self.run_id, tags=named)

    def table(self, table: "pd.DataFrame", name: str) -> None:
        self.client.log_text(self.run_id, table.to_csv(index=False), name)

    def file(self, path: Path, *, below: str | None = None) -> None:
        self.client.log_artifact(self.run_id, str(path), below)

    def folder(self, path: Path, *, below: str | None = None) -> None:
        self.client.log_artifacts(self.run_id, str(path), below)

    def dataset(self, name: str, data_hash: str, *, source: str) -> None:
        from mlflow.entities import Dataset, DatasetInput

        entity = Dataset(name=name, digest=data_hash[:36], source_type="local", source=source)
        self.client.log_inputs(self.run_id, [DatasetInput(entity)])

    def flush(self) -> None:
        for first in range(0, len(self._waiting), METRIC_BATCH):
            self.client.log_batch(self.run_id, metrics=self._waiting[first : first + METRIC_BATCH])
        self._waiting = []
        self._flushed = time.monotonic()

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Note the parameters, nested ones under dotted names."""
        from mlflow.entities import Param

        named = [Param(name, str(value)[:VALUE_LENGTH]) for name, value in flattened(values).items()]
        for first in range(0, len(named), PARAMETER_BATCH):
            self.client.log_batch(self.run_id, params=named[first : first + PARAMETER_BATCH])


@contextmanager
def tracked_step(
    step: str,
    *,
    protocol: str,
    method: str | None = None,
    setting: str | None = None,
    seed: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    tags: Mapping[str, object] | None = None,
) -> Iterator[StepTracker]:
    """Open a run of `step` in the protocol's experiment; it ends with the block.

    The git commit becomes a tag by itself; a tag `data_hash` is also noted as the data set that was read.
    A block that raises leaves a run marked FAILED (KILLED on Ctrl-C) whose tag `error` says why; the error
    goes on to the caller.

    Raises:
        ValueError: the store cannot be opened; the message names its address.
    """
    if os.environ.get(SWITCH_VARIABLE) == "off":
        yield StepTracker()
        return
    known: dict[str, object] = {"step": step, "protocol": protocol, "method": method, "setting": setting}
    known |= {"seed": seed, "git_commit": git_commit()} | dict(tags or {})
    tracker = _open_run(protocol, {name: value for name, value in known.items() if value is not None})
    try:
        tracker.parameters(parameters or {})
        if data_hash := known.get("data_hash"):
            tracker.dataset(protocol, str(data_hash), source=protocol)
        yield tracker
        tracker.flush()
    except BaseException as error:
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        try:
            tracker.flush()
            tracker.tags({"error": f"{type(error).__name__}: {error}"})
            tracker.client.set_terminated(tracker.run_id, status)
        except Exception:
            # The step's own error is the one to tell, also where the store went away with it.
            logging.getLogger(__name__).warning("run %s could not be marked %s", tracker.run_id, status)
        raise
    tracker.client.set_terminated(tracker.run_id)


def require_store(purpose: str) -> None:
    """Refuse to go on where tracking is off.

    Raises:
        ValueError: it is; `purpose` says what would have needed it.
    """
    if os.environ.get(SWITCH_VARIABLE) == "off":
        raise ValueError(f"{SWITCH_VARIABLE}=off leaves no registry to {purpose} in; unset it")


def tracking_uri() -> str:
    """Give the store's address: the environment's, or a sqlite file in `mlruns` of the working folder."""
    return os.environ.get(URI_VARIABLE) or f"sqlite:///{(STORE_FOLDER / 'mlflow.db').absolute()}"


def open_store() -> "MlflowClient":
    """Connect to the store, making a sqlite one that does not exist yet.

    Raises:
        ValueError: it cannot be opened.
    """
    uri = tracking_uri()
    # Set before the import, which reads them: nothing is sent home, and a dead server is told in seconds.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Models are logged and loaded through module functions, which know no client.
    mlflow.set_tracking_uri(uri)
    try:
        with alone(uri):
            client = mlflow.MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
    except Exception as error:
        raise ValueError(
            f"the MLflow store at {uri} cannot be opened ({_first_line(error)}); start it, set {URI_VARIABLE} "
            f"to one that runs, or {SWITCH_VARIABLE}=off to do without"
        ) from error
    return client


def experiment_id(client: "MlflowClient", name: str) -> str:
    """Give the id of the experiment of this name, made or brought back from deletion if need be."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=_artifact_location(client.tracking_uri))
        except MlflowException:
            # Another process may have made it in between.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Turn nested mappings into one with dotted keys."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _open_run(protocol: str, tags: dict[str, object]) -> MlflowTracker:
    client = open_store()
    named = [str(tags[key]) for key in ("step", "method", "setting") if key in tags]
    commit = {"mlflow.source.git.commit": tags["git_commit"]} if "git_commit" in tags else {}
    origin = {"mlflow.source.name": f"cascade-clip {tags['step']}", "mlflow.source.type": "JOB"}
    texts = {name: str(value)[:VALUE_LENGTH] for name, value in {**tags, **commit, **origin}.items()}
    run = client.create_run(experiment_id(client, protocol), tags=texts, run_name=" ".join(named))
    return MlflowTracker(client, run.info.run_id)


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """Keep other processes from what must not be done twice at once on the same sqlite file.

    MLflow makes its tables without a lock, and has no "move this alias only if it is still there". Any other
    store is left to its own transactions.
    """
    file = _sqlite_file(uri)
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sqlite_file(uri: str) -> Path | None:
    scheme = "sqlite:///"
    return Path(uri.removeprefix(scheme)).absolute() if uri.startswith(scheme) else None


def _artifact_location(uri: str) -> str | None:
    """Keep artifacts beside a sqlite file; any other store knows where its own belong."""
    file = _sqlite_file(uri)
    return (file.parent / "artifacts").as_uri() if file else None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
