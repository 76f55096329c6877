"""A rerun of the benchmark: its rows, the accepted ones they are held against, and the page that says what got worse."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from cascade_core.configs.recipes import METHOD_NAMES
from cascade_core.errors import UserError
from components.artifacts import MANIFEST_FILE, git_commit, read_step_manifest
from components.results.accepted import Models, Recorded
from components.results.accepted import rows as rows_of
from components.results.charts import Curve, line_chart
from components.results.pages import COLOURS, filled
from components.results.regression import METRICS, SPEED, Change, Run, centres
from components.results.rows import SETTING_NAMES, RerunRow, joined_row
from components.tracking.tracker import metric_name

log = logging.getLogger(__name__)

LATEST = 30
"""Reruns that a trend shows at most."""


def rerun_row(evaluation: Path, profile: Path) -> RerunRow:
    """Join two folders into a row, with the hash of the checkpoint where the evaluation recorded it."""
    row = joined_row(RerunRow, evaluation, profile)
    if not (evaluation / MANIFEST_FILE).is_file():
        return row
    scored = read_step_manifest(evaluation).inputs.get("checkpoint")
    return row.model_copy(update={"checkpoint": scored and scored.sha256})


def alike(rows: Sequence[RerunRow], earlier: Sequence[RerunRow], models: Models) -> list[RerunRow]:
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


def splits_of(rows: Sequence[RerunRow]) -> str:
    """Name the splits of the rows."""
    return ", ".join(sorted({row.split for row in rows}))


def scores_by_run(rows: Sequence[RerunRow]) -> dict[str, float]:
    """Name every metric `protocol.method.setting.score`."""
    return {
        metric_name(f"{protocol}.{method}.{setting}.{metric}"): value
        for (protocol, _, method, setting), values in centres(rows).items()
        for metric, value in values.items()
    }


def page_of(
    rows: Sequence[RerunRow],
    changes: Sequence[Change],
    earlier: Sequence[Recorded],
    accepted: Recorded | None,
    verdict: str,
    models: Models,
) -> str:
    """Give the page of a rerun: its verdict, what changed, and the trend of every metric over the reruns."""
    reruns = [*(alike(rows, old, models) for old in _readable(earlier[-(LATEST - 1) :])), list(rows)]
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
