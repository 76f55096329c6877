"""Plan what goes by the rule of retention, in the registry, MLflow's runs and the places of trainings and artifacts.

Whatever refers to something is looked at first: what a version that stays needs is planned after the versions, and what a
run that stays needs after the runs.
"""

import logging
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, get_args

from cascade_core.errors import UserError
from components.cluster.names import ARTIFACTS_VARIABLE
from components.finished.entries import kept_trainings, trainings_at
from components.results import accepted
from components.results.rows import RerunRow
from components.retention import recorded, registered
from components.retention.artifacts import folder_items
from components.retention.rule import (
    USUAL_DAYS,
    Item,
    Kind,
    Rule,
    StillNeededError,
    judged,
)
from components.retention.trainings import training_items, unfinished_items
from components.servers.paging import all_of
from components.storage import s3
from components.tracking.displacement import check_place
from components.tracking.faults import first_line, of_store
from components.tracking.store import all_runs, open_store, require_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Outcome:
    """What became of an item that should go: `kept` says why it stays, `error` what went wrong; both "" if it is gone."""

    item: Item
    kept: str = ""
    error: str = ""

    @property
    def verdict(self) -> str:
        """What became of the item, in words."""
        if self.error:
            return f"not removed: {self.error}"
        return f"stays: {self.kept}" if self.kept else "removed"


def plan(
    *,
    keep: int,
    days: float,
    trainings: str | None = None,
    artifacts: str | None = None,
    kinds: Collection[Kind] = KINDS,
) -> list[Item]:
    """Return all items of these kinds, each with the reason why it stays, or "" if it goes.

    `trainings` is the place of finished trainings, by default the one that the environment names, if any. `artifacts` is the s3:// address below which Kubeflow keeps a folder for each pipeline; None leaves them out.

    Raises:
        UserError: the rule is wrong, tracking is off, the store was moved, or a place cannot be read.
    """
    rule = Rule(keep, days, datetime.now(UTC))
    place = trainings_at(trainings) if trainings else kept_trainings()
    require_store("remove old results from")
    client = open_store()
    check_place(client)  # a copy names the files of the store that it was made from
    experiments = all_of(lambda token: client.search_experiments(page_token=token))
    names = [str(experiment.experiment_id) for experiment in experiments]
    ours = registered.our_versions(client, _accepted_rows(client), keep=keep)
    versions = list(judged(registered.version_items(client, ours), rule))
    version_runs = {item.key: item.name for item in versions if item.stays}
    known = recorded.families(client, names)
    families = _families(client, known, recorded.needed_families(known, version_runs), rule)
    left = [rule.by_age(item) for item in registered.left_model_items(client, names)]
    titles = {family.run_id: str(family.parent.info.run_name) for family in known}
    staying_runs = {item.key: titles[item.key] for item in families if item.stays}
    items = [*versions, *left, *families]
    if place is not None and "training" in kinds:
        items += judged(training_items(place, known, staying_runs), rule)
        items += map(rule.by_age, unfinished_items(place))
    if artifacts is not None and "artifacts" in kinds:
        items += judged(folder_items(s3.address(artifacts), known, staying_runs), rule)
    return [item for item in items if item.kind in kinds]


def carry_out(items: Sequence[Item]) -> Iterator[Outcome]:
    """Remove the items that go, one after the other, and yield what became of each.

    An item that something needs by then stays. After a failure the others are still tried, since none depends on another.
    """
    for item in items:
        if item.stays:
            continue
        try:
            item.remove()
        except StillNeededError as reason:
            yield Outcome(item, kept=str(reason))
        except Exception as error:
            if not isinstance(error, UserError | OSError) and not of_store(error):
                raise
            yield Outcome(item, error=first_line(error))
        else:
            yield Outcome(item)


def prune_and_describe(*, keep: int) -> str:
    """Remove what the rule lets go, with the usual age, and describe in Markdown what became of it; for a pipeline's step.

    Items that could not be removed are named and do not fail the step: the results of its pipeline are complete.

    Raises:
        UserError: as of `plan`.
    """
    items = plan(keep=keep, days=USUAL_DAYS, artifacts=os.environ.get(ARTIFACTS_VARIABLE) or None)
    lines = []
    for outcome in carry_out(items):
        line = f"{outcome.verdict}: {outcome.item.kind} {outcome.item.name}"
        log.info("%s", line)
        lines.append(f"- {line}")
    rule = f"{keep} of each group, what is needed, and what is younger than {USUAL_DAYS:g} days"
    stays = sum(bool(item.stays) for item in items)
    return "\n".join(["# Old results", "", f"Kept: {stays}, by the rule: {rule}.", "", *lines]) + "\n"


def _families(
    client: "MlflowClient", known: Sequence[recorded.Family], needed: dict[str, str], rule: Rule
) -> list[Item]:
    """Judge the pipelines' runs; one that stays, for whatever reason, needs those that trained for it."""
    while True:
        items = list(judged(recorded.family_items(client, known, needed), rule))
        staying = {item.key for item in items if item.stays}
        more = recorded.trained_for_others(known, staying)
        if not (added := {run: why for run, why in more.items() if run not in staying}):
            return items
        needed = {**needed, **added}


def _accepted_rows(client: "MlflowClient") -> list[RerunRow]:
    """Return the rows of all accepted benchmarks.

    Raises:
        UserError: rows cannot be read; what they name would not be known.
    """
    experiment = client.get_experiment_by_name(accepted.EXPERIMENT)
    if experiment is None:
        return []
    runs = all_runs(
        client,
        [experiment.experiment_id],
        f"tags.step = '{accepted.EXPERIMENT}' and tags.{accepted.ACCEPTED} = 'true'",
    )
    return [row for run in runs for row in accepted.rows(accepted.recorded(run))]
