"""What a step tells MLflow: parameters, metrics over time, tables, pictures, data hash and commit, as one run.

A store that goes away in the middle does not stop a step: what it has to tell is spooled beside its results
(`components/tracking/spool.py`) and the step ends well, with a warning. So does a step of a pipeline whose store goes away before it.
"""

import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from cascade_core.errors import UserError
from cascade_core.runtime.files import disk_is_full
from components.patience import AwayError
from components.tracking import spool
from components.tracking.pipeline_run import PARENT_TAG, PARENT_VARIABLE, parent_run, surroundings
from components.tracking.step_run import open_step_run
from components.tracking.store import (
    away,
    first_line,
    masked,
    of_store,
    open_store,
    shown_uri,
    tracking_off,
)

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

VALUE_LENGTH = 6000
"""Characters of a value that MLflow keeps."""

FLUSH_SECONDS, FLUSH_POINTS = 5.0, 500
"""Metrics wait this long at most, so that a running training can be watched."""

MEASURED_STEPS = ("train", "self_train", "pretrain")
"""Steps whose use of processor, memory and GPU is recorded; MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL says how often."""


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
    """A step's record in MLflow: one run, written in batches; spooled into a folder once the store is lost.

    Without a client it is lost from the start.
    """

    def __init__(self, client: "MlflowClient | None", run_id: str, spool_folder: Path | None = None) -> None:
        self.client = client
        self.run_id: str = run_id
        self.spool = None if spool_folder is None else spool.Spool(spool_folder)
        self._waiting: list[tuple[str, str, int, int]] = []
        self._flushed = time.monotonic()

    @property
    def lost(self) -> bool:
        """Whether the store is out of reach, and all is spooled."""
        return self.client is None

    def metrics(self, values: Mapping[str, float], *, step: int = 0) -> None:
        now = int(time.time() * 1000)
        # As text: JSON knows no NaN.
        self._waiting += [(name, str(float(value)), now, step) for name, value in values.items()]
        if len(self._waiting) >= FLUSH_POINTS or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def tags(self, values: Mapping[str, object]) -> None:
        self._tell("tags", values=_texts(values))

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Note the parameters, nested ones under dotted names."""
        self._tell("parameters", values=_texts(flattened(values)))

    def table(self, table: "pd.DataFrame", name: str) -> None:
        self._tell("text", text=table.to_csv(index=False), name=name)

    def file(self, path: Path, *, below: str | None = None) -> None:
        self._tell("file", path=str(path.absolute()), below=below)

    def folder(self, path: Path, *, below: str | None = None) -> None:
        self._tell("folder", path=str(path.absolute()), below=below)

    def dataset(self, name: str, data_hash: str, *, source: str) -> None:
        self._tell("dataset", name=name, digest=data_hash[:36], source_type="local", source=source)

    def flush(self) -> None:
        if self._waiting:
            self._tell("metrics", points=self._waiting)
        self._waiting = []
        self._flushed = time.monotonic()

    def end(self, status: str = "FINISHED") -> None:
        """End the run."""
        self.flush()
        self._tell("end", status=status, time=int(time.time() * 1000))

    def _tell(self, kind: str, **content: Any) -> None:
        """Make a call, or spool it: from the first one lost on, so that a dead store costs its retries once."""
        call = spool.Call(self.run_id, kind, content)
        if self.client is not None:
            try:
                spool.make(self.client, call, base=Path())
                return
            except Exception as error:
                if self.spool is None or not spool.lost(error):
                    raise
                self.client = None
                log.warning(
                    "the MLflow store at %s is lost (%s); the step goes on and keeps in %s what it has to tell",
                    shown_uri(),
                    first_line(error),
                    self.spool.folder,
                )
        assert self.spool is not None
        self.spool.add(call)


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

    `out` is the folder the step writes: if the store goes away after the run was opened, what is left to
    tell is spooled beside it, told after all if the store is back at the end, else put into it with a
    warning that names the command to tell it later. So it is from the start where the store is away, and was
    there for an earlier step, which opened the run of the pipeline: its work shall not be lost with a later
    step's record. Without `out` a lost store ends the step.

    Raises:
        UserError: the store cannot be opened, or is lost and there is no `out`; the message names its address. Or the
            disk is full.
    """
    if tracking_off():
        yield StepTracker()
        return
    known: dict[str, object] = {"step": step, "protocol": protocol, "method": method, "setting": setting}
    known |= {"seed": seed, **surroundings()} | dict(tags or {})
    tracker = _open_run(protocol, {name: value for name, value in known.items() if value is not None}, out)
    try:
        tracker.parameters(parameters or {})
        if data_hash := known.get("data_hash"):
            tracker.dataset(protocol, str(data_hash), source=protocol)
        with _system_metrics(tracker, step):
            yield tracker
        tracker.end()
    except BaseException as error:
        _mark(tracker, error)
        if _store_failed(error):
            raise _lost_in(step, error) from error
        if disk_is_full(error):
            raise UserError(
                f"no space left for what step {step} keeps in MLflow ({error}); free some space, and run the step again"
            ) from error
        raise
    _settle(tracker, out)


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


def _open_run(protocol: str, tags: dict[str, object], out: Path | None) -> MlflowTracker:
    name = " ".join(str(tags[key]) for key in ("step", "method", "setting") if key in tags)
    commit = {"mlflow.source.git.commit": tags["git_commit"]} if "git_commit" in tags else {}
    origin = {"mlflow.source.name": f"cascade-clip {tags['step']}", "mlflow.source.type": "JOB"}
    texts = _texts({**tags, **commit, **origin})
    aside = None if out is None else out.with_name(f".{out.name}.spool")
    try:
        client = open_store()
        parent = parent_run(client, protocol)
        nested = {PARENT_TAG: parent} if parent else {}
        run_id = open_step_run(client, protocol=protocol, tags=nested | texts, name=name)
    except Exception as error:
        known = os.environ.get(PARENT_VARIABLE)
        if aside is None or not known or not (isinstance(error, AwayError) or away(error)):
            if _store_failed(error):
                raise _lost_in(str(tags["step"]), error) from error
            raise
        log.warning("%s\nthe step goes on and keeps in %s what it has to tell", first_line(error), aside)
        return _spooled_run(aside, protocol=protocol, tags={PARENT_TAG: known} | texts, name=name)
    return MlflowTracker(client, run_id, aside)


def _spooled_run(aside: Path, **opening: Any) -> MlflowTracker:
    """Give the record of a run that is to be opened once the store is back."""
    tracker = MlflowTracker(None, f"spooled-{uuid4().hex}", aside)
    tracker._tell("open", **opening, started=int(time.time() * 1000))
    return tracker


@contextmanager
def _system_metrics(tracker: MlflowTracker, step: str) -> Iterator[None]:
    if step not in MEASURED_STEPS or tracker.client is None:
        yield
        return
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(tracker.run_id, tracking_uri=tracker.client.tracking_uri)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def _mark(tracker: MlflowTracker, error: BaseException) -> None:
    status = "FAILED" if isinstance(error, Exception) else "KILLED"
    try:
        tracker.tags({"error": masked(f"{type(error).__name__}: {error}")})
        tracker.end(status)
    except Exception:
        # The step's own error is the one to tell, also where the store went away with it.
        log.warning("run %s could not be marked %s", tracker.run_id, status)


def _store_failed(error: BaseException) -> bool:
    """Say whether it was the store that failed a step, and no file of the step's own."""
    return of_store(error) and spool.lost(error)


def _lost_in(step: str, error: BaseException) -> UserError:
    return UserError(
        f"the MLflow store at {shown_uri()} was lost in step {step} ({first_line(error)}); "
        "see that it runs, and run the step again"
    )


def _settle(tracker: MlflowTracker, out: Path | None) -> None:
    """Tell what was spooled if the store is back, else leave it in the step's folder and say so."""
    if not tracker.lost:
        return
    assert tracker.spool is not None and out is not None
    try:
        spool.replay(tracker.spool.folder)
    except ValueError as error:
        kept = out / spool.FOLDER if out.is_dir() else tracker.spool.folder
        if kept != tracker.spool.folder:
            shutil.move(tracker.spool.folder, kept)
        log.warning("%s\nthe step ended well; once the store is back: cascade-clip replay %s", error, kept)
        return
    shutil.rmtree(tracker.spool.folder)
    log.warning("the MLflow store is back: all that was kept for it has been told")


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value)[:VALUE_LENGTH] for name, value in values.items()}
