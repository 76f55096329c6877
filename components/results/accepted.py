"""Benchmark results in MLflow: every rerun is a run of one experiment, the accepted ones are what counts as good."""

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
from components.tracking.store import all_runs, experiment_id, open_store, require_store, told_of

if TYPE_CHECKING:
    from mlflow.entities import Run

EXPERIMENT, ROWS_FILE = "benchmark", "benchmark.json"
ACCEPTED, OUTCOME, MODELS = "accepted", "outcome", "models"

Models = Literal["train", "champions"]
"""What a rerun measures: recipes trained anew, or the champions of the registry. Either is held against its like."""


@dataclass(frozen=True)
class Recorded:
    """One rerun of the benchmark as MLflow keeps it."""

    run_id: str
    when: datetime
    commit: str | None
    outcome: str
    accepted: bool
    models: Models = "train"


def history() -> list[Recorded]:
    """Give every rerun that ended well, the oldest first.

    Raises:
        UserError: the store cannot be opened.
    """
    client = open_store()
    runs = all_runs(
        client,
        [experiment_id(client, EXPERIMENT)],
        # The experiment also holds the runs of whole reruns, whose children these are.
        f"attributes.status = 'FINISHED' and tags.step = '{EXPERIMENT}'",
        order_by=["attributes.start_time ASC"],
    )
    return [_recorded(run) for run in runs]


def of_kind(reruns: Sequence[Recorded], models: Models) -> list[Recorded]:
    """Give those of `reruns` that measured the same kind of models, in their order."""
    return [rerun for rerun in reruns if rerun.models == models]


def last_accepted(reruns: Sequence[Recorded]) -> Recorded | None:
    """Give the latest accepted one of `reruns`, or None before the first; they should be of one kind."""
    return next((rerun for rerun in reversed(reruns) if rerun.accepted), None)


def check_accepted(models: Models) -> None:
    """Make sure, before anything long starts, that what a rerun of this kind will be held against can be read.

    Raises:
        UserError: tracking is off, the store cannot be opened, or the accepted rows cannot be read.
    """
    require_store("hold a benchmark against")
    if (held := last_accepted(of_kind(history(), models))) is not None:
        rows(held)


def accept(run_id: str) -> Recorded:
    """Make a recorded rerun the one that later ones of its kind are compared with; return it.

    Raises:
        UserError: no rerun that ended well has this id.
    """
    known = history()
    chosen = next((rerun for rerun in known if rerun.run_id == run_id), None)
    if chosen is None:
        listed = ", ".join(rerun.run_id for rerun in known[-5:]) or "none"
        raise UserError(f"no benchmark rerun has the id {run_id!r}; the latest are {listed}")
    client = open_store()
    # The newest start time wins, so acceptance is taken from those that came after.
    for rerun in of_kind(known, chosen.models):
        if rerun.accepted and rerun.when > chosen.when:
            client.set_tag(rerun.run_id, ACCEPTED, "false")
    client.set_tag(run_id, ACCEPTED, "true")
    return chosen


def rows(rerun: Recorded) -> tuple[RerunRow, ...]:
    """Fetch a rerun's rows, which are a file in the store.

    Raises:
        UserError: the store cannot be opened, or the rows are not there or do not read.
    """
    client, where = open_store(), f"{ROWS_FILE} of benchmark rerun {rerun.run_id}"
    with tempfile.TemporaryDirectory() as scratch:
        with told_of(where, way_out="see that the store of artifacts is there, or delete that run"):
            path = Path(client.download_artifacts(rerun.run_id, ROWS_FILE, scratch))
        return validated(tuple[RerunRow, ...], read_json(path), source=where, way_out="delete that run")


def _recorded(run: "Run") -> Recorded:
    tags = run.data.tags
    # Reruns from before there was a choice carry no tag, and trained.
    models: Models = "champions" if tags.get(MODELS) == "champions" else "train"
    return Recorded(
        run_id=run.info.run_id,
        when=datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC),
        commit=tags.get("git_commit"),
        outcome=tags.get(OUTCOME, ""),
        accepted=tags.get(ACCEPTED) == "true",
        models=models,
    )
