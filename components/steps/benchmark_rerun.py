"""Step: compare fresh benchmark results with the accepted ones, record them, and say what got worse."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_core.configs.recipes import METHOD_NAMES
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_folder, write_json
from components.artifacts import MANIFEST_FILE, git_commit, read_step_manifest, write_manifest
from components.results.accepted import (
    ACCEPTED,
    EXPERIMENT,
    MODELS,
    OUTCOME,
    ROWS_FILE,
    Models,
    Recorded,
    history,
    last_accepted,
    of_kind,
)
from components.results.accepted import rows as rows_of
from components.results.charts import Curve, line_chart
from components.results.pages import COLOURS, filled
from components.results.regression import METRICS, SPEED, Change, Run, Thresholds, centres, compare, outcome
from components.results.rows import SETTING_NAMES, RerunRow, joined_row
from components.tracking.tracker import metric_name, tracked_step

log = logging.getLogger(__name__)

PAGE_FILE, CHANGES_FILE = "benchmark.html", "comparison.json"
REGRESSED = "regressed"
LATEST = 30
"""Reruns that a trend shows at most."""


@dataclass(frozen=True)
class Rerun:
    """How a rerun came out, what changed, and where its page lies; `run_id` is its run in MLflow."""

    outcome: str
    changes: tuple[Change, ...]
    compared_with: str | None
    run_id: str | None
    page: Path


def run(
    *,
    evaluations: Sequence[Path],
    profiles: Sequence[Path],
    thresholds: Mapping[str, Any],
    out: Path,
    accept: bool = False,
    models: Models = "train",
) -> Rerun:
    """Compare evaluations (each with the profile at its place in `profiles`) with the last accepted results.

    Only methods that were rerun are compared, with reruns of the same kind of `models` on the same pictures:
    what was scored on others is new. The first rerun of a kind is accepted by itself, since there is nothing
    to hold it against; a later one only if `accept`, so that small losses cannot add up unseen.
    `out` gets `benchmark.json`, `comparison.json` and the page `benchmark.html`; MLflow gets the same in one
    run of the experiment "benchmark".

    Raises:
        UserError: a folder or threshold is wrong, nothing is given, or MLflow cannot be reached.
    """
    limits = Thresholds.read(thresholds, source="benchmark.thresholds")
    if not evaluations or len(evaluations) != len(profiles):
        raise UserError(
            f"{len(evaluations)} evaluations and {len(profiles)} profiles; give at least one, and as many of both"
        )
    rows = [_row(*folders) for folders in zip(evaluations, profiles, strict=True)]
    earlier = of_kind(history(), models)
    accepted = last_accepted(earlier)
    changes = compare(rows, _like(rows, rows_of(accepted) if accepted else (), models), limits)
    verdict = outcome(changes) if accepted else "first"
    taken = accept or accepted is None
    with tracked_step(
        "benchmark",
        protocol=EXPERIMENT,
        parameters=limits.model_dump(),
        # "true" and "false" as texts, the way `accept` writes them.
        tags={OUTCOME: verdict, ACCEPTED: str(taken).lower(), MODELS: models, "split": _split(rows)},
        out=out,
    ) as tracker:
        tracker.metrics(_named(rows))
        read = sorted({(row.protocol, row.data_hash) for row in rows if row.data_hash})
        for protocol, data_hash in read:
            tracker.dataset(protocol, data_hash, source=protocol)
        if len(read) == 1:
            tracker.tags({"data_hash": read[0][1]})
        with new_folder(out) as working:
            write_json(working / ROWS_FILE, [row.model_dump(mode="json") for row in rows])
            write_json(working / CHANGES_FILE, [change.model_dump(mode="json") for change in changes])
            page = _page(rows, changes, earlier, accepted, verdict, models)
            (working / PAGE_FILE).write_text(page)
            inputs = {f"{i:03d}-{path.name}": path for i, path in enumerate((*evaluations, *profiles))}
            write_manifest(working, step="benchmark", inputs=inputs, parameters=limits.model_dump())
        tracker.files(ROWS_FILE, CHANGES_FILE, PAGE_FILE)
    compared_with = accepted.run_id if accepted else None
    return Rerun(verdict, tuple(changes), compared_with, tracker.run_id, out / PAGE_FILE)


def refuse_regression(outcome: str) -> None:
    """Raise where a rerun regressed, so that whatever runs it fails, too.

    Raises:
        RuntimeError: it did.
    """
    if outcome == REGRESSED:
        raise RuntimeError("the benchmark regressed; the comparison's page says what, and by how much")


def _row(evaluation: Path, profile: Path) -> RerunRow:
    """Join two folders into a row, with the hash of the checkpoint where the evaluation recorded it."""
    row = joined_row(RerunRow, evaluation, profile)
    if not (evaluation / MANIFEST_FILE).is_file():
        return row
    scored = read_step_manifest(evaluation).inputs.get("checkpoint")
    return row.model_copy(update={"checkpoint": scored and scored.sha256})


def _like(rows: Sequence[RerunRow], earlier: Sequence[RerunRow], models: Models) -> list[RerunRow]:
    """Give the earlier rows of methods that were rerun, those left out that were scored on other pictures.

    A champion stands for its model whatever it was trained with, so a new one of another setting is held
    against the old one, and not told as a run that is missing.
    """
    now = {(row.protocol, row.split, row.method): row for row in rows}
    kept = []
    for row in earlier:
        like = now.get((row.protocol, row.split, row.method))
        if like is not None and row.on_data_of(like):
            kept.append(row.model_copy(update={"setting": like.setting}) if models == "champions" else row)
    return kept


def _split(rows: Sequence[RerunRow]) -> str:
    return ", ".join(sorted({row.split for row in rows}))


def _named(rows: Sequence[RerunRow]) -> dict[str, float]:
    """Name every metric `protocol.method.setting.score`."""
    return {
        metric_name(f"{protocol}.{method}.{setting}.{metric}"): value
        for (protocol, _, method, setting), values in centres(rows).items()
        for metric, value in values.items()
    }


def _page(
    rows: Sequence[RerunRow],
    changes: Sequence[Change],
    earlier: Sequence[Recorded],
    accepted: Recorded | None,
    verdict: str,
    models: Models,
) -> str:
    reruns = [*(_like(rows, old, models) for old in _readable(earlier[-(LATEST - 1) :])), list(rows)]
    shown = list(dict.fromkeys(row.run for row in rows))
    return filled(
        "benchmark.html",
        verdict=verdict,
        models=models,
        accepted=accepted,
        commit=git_commit(),
        changes=changes,
        metrics=METRICS,
        speed=SPEED,
        title=_title,
        num_reruns=len(reruns),
        charts={metric: _trend(reruns, shown, metric, title) for metric, title in METRICS.items()},
        curves=[(_title(run), COLOURS[i % len(COLOURS)]) for i, run in enumerate(shown)],
        seeds=sorted({row.seed for row in rows}),
    )


def _readable(reruns: Sequence[Recorded]) -> Iterator[Sequence[RerunRow]]:
    """Yield the rows of every rerun, but for those whose rows are lost: a trend does without."""
    for rerun in reruns:
        try:
            yield rows_of(rerun)
        except UserError as error:
            log.warning("left out of the trends: %s", error)


def _title(run: Run) -> str:
    protocol, split, method, setting = run
    named = METHOD_NAMES.get(method, method), SETTING_NAMES.get(setting, setting)
    return f"{', '.join(named)} ({protocol}, {split})"


def _trend(reruns: Sequence[Sequence[RerunRow]], shown: Sequence[Run], metric: str, title: str) -> str:
    """Draw a metric of every run over the reruns, one curve a run."""
    known = [centres(rows) for rows in reruns]
    curves = [
        Curve(
            _title(run),
            tuple(
                (float(place), values[run][metric])
                for place, values in enumerate(known, start=1)
                if metric in values.get(run, {})
            ),
            COLOURS[i % len(COLOURS)],
        )
        for i, run in enumerate(shown)
    ]
    return line_chart(curves, x_title="rerun", y_title=title)
