"""Step: compare new benchmark results with the last accepted ones, log them, and report what got worse."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cascade_core.errors import UserError
from cascade_core.runtime.files import write_json
from components.contract import Call, Option, step
from components.contract.shared import Out
from components.results import accepted
from components.results import rerun_page as page
from components.results.regression import Change, Thresholds, compare, outcome
from components.steps.report import Evaluations, Profiles

PAGE_FILE, CHANGES_FILE = "benchmark.html", "comparison.json"


@dataclass(frozen=True)
class Rerun:
    """The outcome of a rerun, its changes, the MLflow runs of the accepted results and of this rerun, and the page."""

    outcome: str
    changes: tuple[Change, ...]
    compared_with: str | None
    run_id: str | None
    page: Path


@step("benchmark")
def run(
    call: Call,
    /,
    *,
    evaluations: Evaluations,
    profiles: Profiles,
    thresholds: Annotated[Mapping[str, Any], Option("Largest allowed loss of each score and of the speed.")],
    out: Out,
    accept: Annotated[bool, Option("Accept these results: later reruns are compared with them.")] = False,
    models: Annotated[accepted.Models, Option("What was scored: new trainings, or the champions.")] = "train",
) -> Rerun:
    """Compare evaluations with the last accepted results.

    The n-th evaluation belongs to the n-th profile. Only the methods of this rerun are compared, with accepted
    results of the same kind of models on the same pictures; results on other pictures are new. The first rerun of a
    kind is accepted automatically; a later one only with `accept`, so that small losses cannot add up unnoticed.
    Writes `benchmark.json`, `comparison.json` and the page `benchmark.html`, and logs them to one run of the MLflow
    experiment "benchmark".

    Raises:
        UserError: a folder or threshold is wrong, there is no evaluation, or MLflow cannot be reached.
    """
    limits = Thresholds.read(thresholds, source="benchmark.thresholds")
    if not evaluations or len(evaluations) != len(profiles):
        raise UserError(
            f"{len(evaluations)} evaluations and {len(profiles)} profiles; give a profile for each evaluation"
        )
    rows = [page.rerun_row(*folders) for folders in zip(evaluations, profiles, strict=True)]
    earlier = accepted.of_kind(accepted.history(), models)
    baseline = accepted.last_accepted(earlier)
    old = page.comparable(rows, accepted.rows(baseline) if baseline else (), models)
    changes = compare(rows, old, limits)
    verdict = outcome(changes) if baseline else "first"
    is_accepted = accept or baseline is None
    with call.writing(
        protocol=accepted.EXPERIMENT,
        parameters=limits.model_dump(),
        # "true" or "false", as `accepted.accept` writes it.
        tags={
            accepted.OUTCOME: verdict,
            accepted.ACCEPTED: str(is_accepted).lower(),
            accepted.MODELS: models,
            "split": page.splits_of(rows),
        },
    ) as work:
        tracker, folder = work.tracker, work.folder
        tracker.metrics(page.scores_by_run(rows))
        data_sets = sorted({(row.protocol, row.data_hash) for row in rows if row.data_hash})
        for protocol, data_hash in data_sets:
            tracker.dataset(protocol, data_hash, source=protocol)
        if len(data_sets) == 1:
            tracker.tags({"data_hash": data_sets[0][1]})
        write_json(folder / accepted.ROWS_FILE, [row.model_dump(mode="json") for row in rows])
        write_json(folder / CHANGES_FILE, [change.model_dump(mode="json") for change in changes])
        (folder / PAGE_FILE).write_text(
            page.page_of(rows, changes, earlier, baseline, verdict, models), encoding="utf-8"
        )
        tracker.files(accepted.ROWS_FILE, CHANGES_FILE, PAGE_FILE)
    compared_with = baseline.run_id if baseline else None
    return Rerun(verdict, tuple(changes), compared_with, tracker.run_id, out / PAGE_FILE)


def refuse_regression(outcome: str) -> None:
    """Fail if a rerun regressed, so that the pipeline fails too.

    Raises:
        RuntimeError: the outcome is "regressed".
    """
    if outcome == "regressed":
        raise RuntimeError(
            "the benchmark regressed; its page benchmark.html shows which scores, and by how much"
        )
