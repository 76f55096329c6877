"""Benchmark reruns in MLflow: each is a run of one experiment, and a tag marks the accepted ones."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json
from cascade_core.runtime.validation import validated
from components.results.rows import RerunRow
from components.tracking.displacement import check_place
from components.tracking.experiments import BENCHMARK, experiment_id
from components.tracking.faults import translate_errors
from components.tracking.store import all_runs, open_store, require_store

if TYPE_CHECKING:
    from mlflow.entities import Run

EXPERIMENT, ROWS_FILE = BENCHMARK, "benchmark.json"
ACCEPTED, OUTCOME, MODELS = "accepted", "outcome", "models"

Models = Literal["train", "champions"]
"""A rerun measures newly trained recipes or the registry's champions; only reruns of one kind are compared."""


@dataclass(frozen=True)
class RecordedRerun:
    """A rerun of the benchmark as MLflow records it."""

    run_id: str
    when: datetime
    commit: str | None
    outcome: str
    accepted: bool
    models: Models


def history() -> list[RecordedRerun]:
    """Return every rerun that finished, the oldest first.

    Raises:
        UserError: the store cannot be opened.
    """
    client = open_store()
    runs = all_runs(
        client,
        [experiment_id(client, EXPERIMENT)],
        # The experiment also holds the parent runs of the pipelines that run a rerun.
        f"attributes.status = 'FINISHED' and tags.step = '{EXPERIMENT}'",
        order_by=["attributes.start_time ASC"],
    )
    return [recorded(run) for run in runs]


def of_kind(reruns: Sequence[RecordedRerun], models: Models) -> list[RecordedRerun]:
    """Keep the reruns that measured this kind of models; order is preserved."""
    return [rerun for rerun in reruns if rerun.models == models]


def last_accepted(reruns: Sequence[RecordedRerun]) -> RecordedRerun | None:
    """Return the latest accepted rerun, or None before the first; give reruns of one kind."""
    return next((rerun for rerun in reversed(reruns) if rerun.accepted), None)


def check_accepted(models: Models) -> None:
    """Check before any long work that the accepted rows of this kind can be read.

    Raises:
        UserError: tracking is off, the store cannot be opened, or the accepted rows cannot be read.
    """
    require_store("compare a benchmark with")
    if (accepted := last_accepted(of_kind(history(), models))) is not None:
        rows(accepted)


def accept(run_id: str) -> RecordedRerun:
    """Accept a recorded rerun: later ones of its kind are compared with it.

    Raises:
        UserError: no rerun that finished has this id.
    """
    reruns = history()
    rerun = next((rerun for rerun in reruns if rerun.run_id == run_id), None)
    if rerun is None:
        latest = ", ".join(rerun.run_id for rerun in reruns[-5:]) or "none"
        raise UserError(f"no benchmark rerun has the id {run_id!r}; the latest are {latest}")
    client = open_store()
    # The latest start time wins, so the reruns after this one lose their acceptance.
    for later in of_kind(reruns, rerun.models):
        if later.accepted and later.when > rerun.when:
            client.set_tag(later.run_id, ACCEPTED, "false")
    client.set_tag(run_id, ACCEPTED, "true")
    return rerun


def rows(rerun: RecordedRerun) -> tuple[RerunRow, ...]:
    """Download the rows of a rerun from the store.

    Raises:
        UserError: the store cannot be opened, was moved, or the rows are missing or invalid.
    """
    client, where = open_store(), f"{ROWS_FILE} of benchmark rerun {rerun.run_id}"
    check_place(client)
    with tempfile.TemporaryDirectory() as scratch:
        with translate_errors(where, way_out="check that the artifact store is there, or delete that run"):
            path = Path(client.download_artifacts(rerun.run_id, ROWS_FILE, scratch))
        return validated(tuple[RerunRow, ...], read_json(path), source=where, way_out="delete that run")


def recorded(run: "Run") -> RecordedRerun:
    """Read a rerun from its run in MLflow."""
    tags = run.data.tags
    return RecordedRerun(
        run_id=run.info.run_id,
        when=datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC),
        commit=tags.get("git_commit"),
        outcome=tags.get(OUTCOME, ""),
        accepted=tags.get(ACCEPTED) == "true",
        # Early reruns have no such tag; all of them trained.
        models="champions" if tags.get(MODELS) == "champions" else "train",
    )
