"""Track a step as an MLflow run: parameters, metrics over time, tables, pictures, data hash and commit.

A store that becomes unavailable during a step does not stop it: the step logs a warning, and its folder keeps what the
store lacks (`components/tracking/run_record.py`). The same holds for a pipeline's step that starts without a store.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade_core.errors import UserError
from cascade_core.runtime.files import disk_is_full
from components.servers.addresses import masked
from components.servers.patience import AwayError
from components.tracking.faults import away, explained, first_line, of_store, store_unavailable
from components.tracking.kubeflow_run import reopen
from components.tracking.page_links import log_where_runs_are
from components.tracking.pipeline_run import PARENT_TAG, PARENT_VARIABLE, parent_run, surroundings, work_tags
from components.tracking.run_record import (
    RunRecord,
    log_folder,
    open_run,
    send,
    write_record,
)
from components.tracking.store import masked_uri, open_store, tracking_off

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

VALUE_LENGTH = 6000
"""MLflow's limit on a value, in characters."""

FLUSH_SECONDS, FLUSH_POINTS = 5.0, 500
"""Metrics are sent after this time or this many points, so that a running training can be watched."""

MEASURED_STEPS = ("train", "self_train", "pretrain")
"""Steps that record the machine's load (`components/tracking/machine_load.py`)."""


class StepTracker:
    """Collects a step's record and logs it to the step's run; logs nothing while tracking is off.

    Args:
        record: what the store lacks; an empty one while tracking is off.
        client: the store; None if it is unavailable from the start.
        out: the folder that the step writes, which keeps the record if the store becomes unavailable; without it,
            an unavailable store ends the step.
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
        """The run's id; None while tracking is off, and while the run is not open because the store is unavailable."""
        return self.record.run_id

    def metrics(self, values: Mapping[str, float], *, step: int = 0) -> None:
        """Record values (NaN stays NaN) at a training step, and send the record if it is due."""
        self.note(values, step)
        if len(self.record.metrics) >= FLUSH_POINTS or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def note(self, values: Mapping[str, float], step: int) -> None:
        """Record values at a training step, from any thread; the next `metrics` sends them."""
        now = int(time.time() * 1000)
        self.record.metrics.extend([(name, float(value), now, step) for name, value in values.items()])

    def tags(self, values: Mapping[str, object]) -> None:
        """Record tags, by which runs can be filtered."""
        self.record.tags.update(_texts(values))

    def dataset(self, name: str, data_hash: str, *, source: str) -> None:
        """Record a data set that the run read."""
        self.record.datasets.append((name, data_hash[:36], source))

    def files(self, *names: str) -> None:
        """Record files and folders by their names in the step's folder; they are logged when the step ends."""
        self.record.files.extend(names)

    def flush(self) -> None:
        """Send the record if the store is available."""
        self._flushed = time.monotonic()
        self._call(send)

    def end(self, status: str) -> None:
        """Send the record and the files, and end the run, if the store is available."""
        assert self.out or not self.record.files, "files are those of a step's folder"
        self.record.status, self.record.ended = status, int(time.time() * 1000)
        self._call(partial(log_folder, folder=self.out or Path()))

    def _call(self, log_to: Callable[["MlflowClient", RunRecord], None]) -> None:
        """Stop using the store after its first failed call, so that its retries cost time only once."""
        if self.client is None:
            return
        try:
            log_to(self.client, self.record)
        except Exception as error:
            if self.out is None or not store_unavailable(error):
                raise
            self.client = None
            log.warning(
                "the MLflow store at %s is lost (%s); the step continues", masked_uri(), first_line(error)
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
    """Open a run of `step` in the protocol's experiment during the block.

    Adds commit, Kubeflow run, image and parent run as tags; a tag `data_hash` is also logged as the data set that
    was read. An error in the block marks the run FAILED (KILLED on a signal), with the error as its tag `error`, and is
    raised again. Closes, as KILLED, the runs of the same work that killed processes left RUNNING.

    `out` is the folder that the step writes, complete when the block ends. If the store becomes unavailable and is
    not back by then, the folder keeps the record, and a warning names the command that logs it later. A step of an
    open pipeline run even starts without a store; any other step fails. Without `out`, an unavailable store ends the
    step.

    Raises:
        UserError: the store cannot be opened, or became unavailable and there is no `out` (the message names its
            address), or the disk is full.
    """
    if tracking_off():
        yield StepTracker()
        return
    facts: dict[str, object] = {"step": step, "protocol": protocol, "method": method, "setting": setting}
    facts["seed"] = seed
    work = work_tags(facts, parameters, Path.cwd() if out is None else out.absolute())
    facts |= {**surroundings(), **work} | dict(tags or {})
    record = _new_record(protocol, {name: value for name, value in facts.items() if value is not None})
    client, experiment = _opened(record, out)
    tracker = StepTracker(record, client, out)
    record.parameters = _texts(flattened(parameters or {}))
    if data_hash := facts.get("data_hash"):
        tracker.dataset(protocol, str(data_hash), source=protocol)
    try:
        tracker.flush()
        if experiment is not None:
            log_where_runs_are(record.name, experiment)
        with ExitStack() as stack:
            if step in MEASURED_STEPS:
                from components.tracking.machine_load import LoadMonitor

                monitor = LoadMonitor(tracker.note)
                monitor.start()
                stack.callback(monitor.finish)
            yield tracker
        tracker.end("FINISHED")
        if tracker.client is None:
            _log_or_keep(tracker)
    except BaseException as error:
        _mark(tracker, error)
        if of_store(error) and store_unavailable(error):
            raise _lost_in(step, error) from error
        if disk_is_full(error):
            raise UserError(
                f"no space left for what step {step} keeps in MLflow ({error}); free some space, and run the step again"
            ) from error
        raise


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Flatten nested mappings into one with dotted keys."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def metric_name(text: str) -> str:
    """Remove the characters that MLflow refuses in metric names, such as the commas of a background policy."""
    return re.sub(r"[^/\w.\- ]", "", text)


def _new_record(protocol: str, facts: Mapping[str, object]) -> RunRecord:
    tags = _texts(facts)
    if "git_commit" in tags:
        tags["mlflow.source.git.commit"] = tags["git_commit"]
    return RunRecord(
        protocol=protocol,
        name=" ".join(
            [
                *(tags[key] for key in ("step", "method", "setting") if key in tags),
                *([f"seed {tags['seed']}"] if "seed" in tags else []),
            ]
        ),
        started=int(time.time() * 1000),
        tags=tags | {"mlflow.source.name": f"cascade-clip {tags['step']}", "mlflow.source.type": "JOB"},
    )


def _opened(record: RunRecord, out: Path | None) -> "tuple[MlflowClient | None, str | None]":
    """Open the store and the run; return no client if the store is unavailable and the step can work without.

    Also returns the id of the experiment for a run without a parent, which nobody else leads to.
    """
    try:
        client = open_store()
        if parent := parent_run(record.protocol):
            record.tags[PARENT_TAG] = parent
            reopen(client, parent)
        experiment = open_run(client, record)
    except Exception as error:
        parent = os.environ.get(PARENT_VARIABLE)
        if out is None or not parent or not (isinstance(error, AwayError) or away(error)):
            if of_store(error) and store_unavailable(error):
                raise _lost_in(record.tags["step"], error) from error
            raise
        record.tags[PARENT_TAG] = parent
        log.warning("%s\nthe step continues without the store", first_line(error))
        return None, None
    return client, None if parent else experiment


def _log_or_keep(tracker: StepTracker) -> None:
    """Log a finished step if the store is available again; otherwise write the record to its folder."""
    record, out = tracker.record, tracker.out
    assert out is not None
    try:
        log_folder(open_store(), record, out)
    except Exception as error:
        if not (isinstance(error, UserError) or store_unavailable(error)):
            raise
        write_record(record, out)
        log.warning(
            "%s\nthe step ended well; once the store is back: cascade-clip record %s", first_line(error), out
        )
    else:
        log.warning("the MLflow store is back, and has all of the step")


def _mark(tracker: StepTracker, error: BaseException) -> None:
    """End the run of a failed step; without a store, write the record next to the folder that the step did not write."""
    status = "FAILED" if isinstance(error, Exception) else "KILLED"
    tracker.tags({"error": masked(f"{type(error).__name__}: {error}")})
    tracker.record.files.clear()
    try:
        tracker.end(status)
        if tracker.client is None and tracker.out is not None:
            write_record(tracker.record, tracker.out.with_name(f".{tracker.out.name}.failed"))
    except Exception:
        # The caller raises the step's own error, which matters more.
        log.warning("run %s could not be marked %s", tracker.run_id, status)


def _lost_in(step: str, error: BaseException) -> UserError:
    reason, way_out = explained(error, "check that it runs")
    return UserError(
        f"the MLflow store at {masked_uri()} was lost in step {step} ({reason}); {way_out}, and run the step again"
    )


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value)[:VALUE_LENGTH] for name, value in values.items()}
