"""A rerun of the benchmark: its rows, the accepted rows to compare with, and the page of results, changes and trends."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from cascade_core.errors import UserError
from components.artifacts.manifest import MANIFEST_FILE, git_commit, read_step_manifest
from components.results.accepted import Models, RecordedRerun
from components.results.accepted import rows as rows_of
from components.results.pages import COLOURS, Curve, fill_template, line_chart
from components.results.regression import METRICS, SPEED, Change, centres
from components.results.rows import RerunRow, Run, run_names, summaries
from components.tracking.tracker import metric_name

log = logging.getLogger(__name__)

LATEST = 30
"""A trend shows at most this many reruns."""


def rerun_row(evaluation: Path, profile: Path) -> RerunRow:
    """Join two steps' folders into a row, with the checkpoint's hash if the evaluation recorded it."""
    row = RerunRow.read(evaluation, profile)
    if not (evaluation / MANIFEST_FILE).is_file():
        return row
    checkpoint = read_step_manifest(evaluation).inputs.get("checkpoint")
    return row.model_copy(update={"checkpoint": checkpoint and checkpoint.sha256})


def comparable(rows: Sequence[RerunRow], earlier: Sequence[RerunRow], models: Models) -> list[RerunRow]:
    """Keep the earlier rows of methods that were rerun, on the same pictures.

    A new champion is compared with the old one even if their settings differ, so the earlier row takes the new
    row's setting: otherwise the old champion's run would be reported missing.
    """
    now = {(row.protocol, row.split, row.method): row for row in rows}
    kept = []
    for row in earlier:
        new = now.get((row.protocol, row.split, row.method))
        if new is not None and row.on_data_of(new):
            setting = {"setting": new.setting} if models == "champions" else {}
            kept.append(row.model_copy(update=setting))
    return kept


def splits_of(rows: Sequence[RerunRow]) -> str:
    """List the splits of the rows."""
    return ", ".join(sorted({row.split for row in rows}))


def scores_by_run(rows: Sequence[RerunRow]) -> dict[str, float]:
    """Return the mean of every metric, by its name `protocol.method.setting.score`."""
    return {
        metric_name(f"{protocol}.{method}.{setting}.{metric}"): value
        for (protocol, _, method, setting), values in centres(rows).items()
        for metric, value in values.items()
    }


def page_of(
    rows: Sequence[RerunRow],
    changes: Sequence[Change],
    earlier: Sequence[RecordedRerun],
    accepted: RecordedRerun | None,
    verdict: str,
    models: Models,
) -> str:
    """Fill the page of a rerun: its verdict, the changes, or the results if nothing is accepted, and trends over the reruns."""
    reruns = [*(comparable(rows, old, models) for old in _read_rows(earlier[-(LATEST - 1) :])), list(rows)]
    colours = {run: COLOURS[i % len(COLOURS)] for i, run in enumerate(dict.fromkeys(row.run for row in rows))}
    values = [centres(rerun) for rerun in reruns]

    def trend(metric: str) -> list[Curve]:
        """Return the curves of a metric; a run measured once has none."""
        curves = [
            Curve(
                _title(run),
                tuple(
                    (float(place), by_run[run][metric])
                    for place, by_run in enumerate(values, start=1)
                    if metric in by_run.get(run, {})
                ),
                colour,
            )
            for run, colour in colours.items()
        ]
        return [curve for curve in curves if len(curve.points) > 1]

    trends = {metric: curves for metric in METRICS if (curves := trend(metric))}
    legend = {curve.title: curve.colour for curves in trends.values() for curve in curves}

    return fill_template(
        "benchmark.html",
        verdict=verdict,
        models=models,
        accepted=accepted,
        commit=git_commit(),
        changes=changes,
        metrics=METRICS,
        speed=SPEED,
        title=_title,
        results=[(summary, values[-1][summary.first.run]) for summary in summaries(rows)],
        num_reruns=len(reruns),
        charts={
            metric: line_chart(curves, x_title="rerun", y_title=METRICS[metric])
            for metric, curves in trends.items()
        },
        curves=list(legend.items()),
        seeds=sorted({row.seed for row in rows}),
    )


def _read_rows(reruns: Sequence[RecordedRerun]) -> Iterator[Sequence[RerunRow]]:
    """Yield the rows of every rerun, and log a warning for a rerun whose rows cannot be read."""
    for rerun in reruns:
        try:
            yield rows_of(rerun)
        except UserError as error:
            log.warning("left out of the trends: %s", error)


def _title(run: Run) -> str:
    protocol, split, method, setting = run
    return f"{', '.join(run_names(method, setting))} ({protocol}, {split})"
