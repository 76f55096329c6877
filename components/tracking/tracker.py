"""What a step's run in MLflow says: parameters, metrics over time, tables, pictures, data hash and commit.

A store that goes away in the middle does not stop a step: it ends well, with a warning, and its folder keeps what the
store lacks (`components/tracking/run_record.py`). So does a step of a pipeline whose store goes away before it.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade_core.errors import UserError
from cascade_core.runtime.files import disk_is_full
from components.patience import AwayError
from components.tracking.pipeline_run import PARENT_TAG, PARENT_VARIABLE, parent_run, surroundings
from components.tracking.run_record import RunRecord, log_folder, lost, open_run, send, write_record
from components.tracking.store import away, first_line, masked, of_store, open_store, shown_uri, tracking_off

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

VALUE_LENGTH = 6000
"""Characters of a value that MLflow keeps."""

FLUSH_SECONDS, FLUSH_POINTS = 5.0, 500
"""Metrics wait this long at most, so that a running training can be watched."""

MEASURED_STEPS = ("train", "self_train", "pretrain")
"""Steps beside which the machine's load is measured (`components/tracking/machine_load.py`)."""


class StepTracker:
    """A step's record: what is noted here reaches its run in MLflow, at once or later; nowhere while tracking is off.

    `out` is the folder the step writes: it keeps what the store lacks once that is lost. Without a client it is lost
    from the start; without `out` a lost store ends the step.
    """

    def __init__(
        self, record: RunRecord | None = None, client: "MlflowClient | None" = None, out: Path | None = None
    ) -> None:
        self.record = record or RunRecord(protocol="", name="", started=0)
        self.client = client
        self.out = out
        self._flushed = time.monotonic()

    @property
    def run_id(self) -> str | None:
        """The run's id; None while tracking is off, and while a lost store keeps the run from being opened."""
        return self.record.run_id

    def metrics(self, values: Mapping[str, float], *, step: int = 0) -> None:
        """Note values at a step, and send what waits if it is time; a value that is not a number stays one."""
        self.note(values, step)
        waiting, since = len(self.record.metrics), time.monotonic() - self._flushed
        if waiting >= FLUSH_POINTS or since > FLUSH_SECONDS:
            self.flush()

    def note(self, values: Mapping[str, float], step: int) -> None:
        """Note values at a step, from any thread; they are sent with the next metrics."""
        now = int(time.time() * 1000)
        self.record.metrics.extend([(name, float(value), now, step) for name, value in values.items()])

    def tags(self, values: Mapping[str, object]) -> None:
        """Note facts to filter runs by."""
        self.record.tags.update(_texts(values))

    def dataset(self, name: str, data_hash: str, *, source: str) -> None:
        """Note which data the run read."""
        self.record.datasets.append((name, data_hash[:36], source))

    def files(self, *names: str) -> None:
        """Note files and folders, such as pictures, by their names in the step's folder; the end of the step logs them."""
        self.record.files.extend(names)

    def flush(self) -> None:
        """Send what waits, unless the store is lost."""
        self._flushed = time.monotonic()
        self._call(send)

    def end(self, status: str) -> None:
        """End the run, with its files, unless the store is lost."""
        assert self.out or not self.record.files, "files are those of a step's folder"
        self.record.status, self.record.ended = status, int(time.time() * 1000)
        self._call(partial(log_folder, folder=self.out or Path()))

    def _call(self, log_to: Callable[["MlflowClient", RunRecord], None]) -> None:
        """Do without the store from its first lost call on, so that a dead one costs its retries once."""
        if self.client is None:
            return
        try:
            log_to(self.client, self.record)
        except Exception as error:
            if self.out is None or not lost(error):
                raise
            self.client = None
            log.warning(
                "the MLflow store at %s is lost (%s); the step goes on", shown_uri(), first_line(error)
            )


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
    out: Path | None = None,
) -> Iterator[StepTracker]:
    """Open a run of `step` in the protocol's experiment; it ends with the block.

    Commit, Kubeflow run and image become tags by themselves, as does the parent run there may be; a tag
    `data_hash` is also noted as the data set that was read. A block that raises leaves a run marked FAILED
    (KILLED on Ctrl-C) whose tag `error` says why; the error goes on to the caller.

    `out` is the folder the step writes, whole when the block ends: if the store goes away after the run was opened and
    is not back by then, the folder keeps what the store lacks, and a warning names the command that records it later.
    So it is from the start where the store is away, and was there for an earlier step, which opened the run of the
    pipeline: its work shall not be lost with a later step's record. Without `out` a lost store ends the step.

    Raises:
        UserError: the store cannot be opened, or is lost and there is no `out`; the message names its address. Or the
            disk is full.
    """
    if tracking_off():
        yield StepTracker()
        return
    known: dict[str, object] = {"step": step, "protocol": protocol, "method": method, "setting": setting}
    known |= {"seed": seed, **surroundings()} | dict(tags or {})
    record = _record(protocol, {name: value for name, value in known.items() if value is not None})
    tracker = StepTracker(record, _opened(record, out), out)
    record.parameters = _texts(flattened(parameters or {}))
    if data_hash := known.get("data_hash"):
        tracker.dataset(protocol, str(data_hash), source=protocol)
    try:
        tracker.flush()
        with _load_noted(tracker, step):
            yield tracker
        tracker.end("FINISHED")
        if tracker.client is None:
            _record_or_keep(tracker)
    except BaseException as error:
        _mark(tracker, error)
        if of_store(error) and lost(error):
            raise _lost_in(step, error) from error
        if disk_is_full(error):
            raise UserError(
                f"no space left for what step {step} keeps in MLflow ({error}); free some space, and run the step again"
            ) from error
        raise


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Turn nested mappings into one with dotted keys."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def metric_name(text: str) -> str:
    """Give a text as MLflow takes it for a metric's name: commas, say, of a background policy, are left out."""
    return re.sub(r"[^/\w.\- ]", "", text)


def _record(protocol: str, tags: dict[str, object]) -> RunRecord:
    name = " ".join(str(tags[key]) for key in ("step", "method", "setting") if key in tags)
    commit = {"mlflow.source.git.commit": tags["git_commit"]} if "git_commit" in tags else {}
    origin = {"mlflow.source.name": f"cascade-clip {tags['step']}", "mlflow.source.type": "JOB"}
    texts = _texts({**tags, **commit, **origin})
    return RunRecord(protocol=protocol, name=name, started=int(time.time() * 1000), tags=texts)


def _opened(record: RunRecord, out: Path | None) -> "MlflowClient | None":
    """Open the store and the run; None where a pipeline's step goes on without, since its store is away."""
    try:
        client = open_store()
        if parent := parent_run(client, record.protocol):
            record.tags[PARENT_TAG] = parent
        open_run(client, record)
    except Exception as error:
        known = os.environ.get(PARENT_VARIABLE)
        if out is None or not known or not (isinstance(error, AwayError) or away(error)):
            if of_store(error) and lost(error):
                raise _lost_in(record.tags["step"], error) from error
            raise
        record.tags[PARENT_TAG] = known
        log.warning("%s\nthe step goes on without", first_line(error))
        return None
    return client


@contextmanager
def _load_noted(tracker: StepTracker, step: str) -> Iterator[None]:
    if step not in MEASURED_STEPS:
        yield
        return
    from components.tracking.machine_load import LoadMonitor

    monitor = LoadMonitor(tracker.note)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def _record_or_keep(tracker: StepTracker) -> None:
    """Log a step that ended well without its store if that is back, else keep in its folder what the store lacks."""
    record, out = tracker.record, tracker.out
    assert out is not None
    try:
        log_folder(open_store(), record, out)
    except Exception as error:
        if not (isinstance(error, UserError) or lost(error)):
            raise
        write_record(record, out)
        log.warning(
            "%s\nthe step ended well; once the store is back: cascade-clip record %s", first_line(error), out
        )
    else:
        log.warning("the MLflow store is back, and has all of the step")


def _mark(tracker: StepTracker, error: BaseException) -> None:
    """End the run of a step that failed; without the store its record is kept beside the folder the step did not write."""
    status = "FAILED" if isinstance(error, Exception) else "KILLED"
    tracker.tags({"error": masked(f"{type(error).__name__}: {error}")})
    tracker.record.files.clear()
    try:
        tracker.end(status)
        if tracker.client is None and tracker.out is not None:
            write_record(tracker.record, tracker.out.with_name(f".{tracker.out.name}.failed"))
    except Exception:
        # The step's own error is the one to report, also where the store went away with it.
        log.warning("run %s could not be marked %s", tracker.run_id, status)


def _lost_in(step: str, error: BaseException) -> UserError:
    return UserError(
        f"the MLflow store at {shown_uri()} was lost in step {step} ({first_line(error)}); "
        "see that it runs, and run the step again"
    )


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value)[:VALUE_LENGTH] for name, value in values.items()}
