"""Step: gather evaluations of one checkpoint on many data sets into one table, as JSON, Markdown and HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cascade_core.errors import UserError
from cascade_core.runtime.files import new_folder, read_json, write_json
from components.artifacts import write_manifest
from components.results.rows import DROPPED, SCORES, SCORES_FILE
from components.tables import read_table
from components.tracking.pipeline_run import CROSS_DATASET
from components.tracking.tracker import metric_name, tracked_step

ROWS_FILE, TABLE_FILE, PAGE_FILE = "cross_dataset.json", "table.md", "table.html"
COLUMNS = {
    "protocol": "target",
    "background": "background",
    "method": "method",
    "setting": "setting",
    "split": "split",
    "num_pictures": "pictures",
    "num_classes": "classes",
    "num_seen": "seen",
    "miou": "mIoU",
    **SCORES,
}
"""Fields of a row, and the headings of its columns."""

FRACTIONS = ("miou", *SCORES)


@dataclass(frozen=True)
class Comparison:
    """Where the table lies, and its rows; scores as fractions, None where there is nothing to average."""

    page: Path
    rows: tuple[dict[str, Any], ...]


def run(*, evaluations: Sequence[Path], out: Path) -> Comparison:
    """Write a row per evaluation, in their order: scores over all, the seen, and the unseen classes.

    mIoU over all classes is what papers give for other data sets; the parts differ from it only where seen
    classes were told by their names (see `components/steps/evaluate.py`). The run in MLflow holds the same files, and
    names every data set.

    Raises:
        UserError: there is no evaluation, or a folder is not that of an evaluate step.
    """
    if not evaluations:
        raise UserError("a comparison needs at least one evaluation; name at least one target")
    rows = [_row(folder) for folder in evaluations]
    shown = pd.DataFrame([_shown(row) for row in rows])
    with tracked_step("cross_dataset", protocol=CROSS_DATASET, tags=_shared(rows), out=out) as tracker:
        for evaluation, row in zip(evaluations, rows, strict=True):
            if data_hash := read_json(evaluation / SCORES_FILE).get("data_hash"):
                tracker.dataset(row["protocol"], data_hash, source=row["protocol"])
        tracker.metrics(_named(rows))
        with new_folder(out) as folder:
            write_json(folder / ROWS_FILE, rows)
            (folder / TABLE_FILE).write_text(_markdown(shown))
            (folder / PAGE_FILE).write_text(shown.to_html(index=False, border=0))
            inputs = {f"{i}": path for i, path in enumerate(evaluations)}
            write_manifest(folder, step="cross_dataset", inputs=inputs, parameters={})
        tracker.files(ROWS_FILE, TABLE_FILE, PAGE_FILE)
    return Comparison(out / PAGE_FILE, tuple(rows))


def _shared(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Give what all rows have in common of model and split, and nothing of what they have not."""
    values = {name: {row[name] for row in rows} for name in ("method", "setting", "split")}
    return {name: found.pop() for name, found in values.items() if len(found) == 1}


def _named(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Name every score `target.score`, with the background policy where that is not the usual one."""
    targets = [
        row["protocol"] if row["background"] == DROPPED else f"{row['protocol']} {row['background']}"
        for row in rows
    ]
    return {
        metric_name(f"{target}.{score}"): row[score]
        for target, row in zip(targets, rows, strict=True)
        for score in FRACTIONS
        if row[score] is not None
    }


def _row(evaluation: Path) -> dict[str, Any]:
    scores = read_json(evaluation / SCORES_FILE)
    classes = read_table(evaluation / "per_class.csv", step="an evaluate step")
    found = {
        "num_classes": len(classes),
        "num_seen": int((classes["group"] == "seen").sum()),
        "miou": None if classes["iou"].isna().all() else float(classes["iou"].mean()),
        "background": DROPPED,
        **scores,
    }
    missing = [name for name in COLUMNS if name not in found]
    if missing:
        raise UserError(f"{evaluation / SCORES_FILE}: {missing} are missing; run the evaluate step again")
    return {name: found[name] for name in COLUMNS}


def _shown(row: dict[str, Any]) -> dict[str, str]:
    percent = {name: "-" if row[name] is None else f"{100 * row[name]:.1f}" for name in FRACTIONS}
    return {title: str(percent.get(name, row[name])) for name, title in COLUMNS.items()}


def _markdown(table: pd.DataFrame) -> str:
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
