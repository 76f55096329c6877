"""Evaluations of one checkpoint on many data sets (targets) as rows of one table; scores are fractions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cascade_core.errors import UserError
from components.results.names import SCORES, SCORES_FILE
from components.results.pages import fill_template
from components.results.rows import DROPPED
from components.results.step_files import read_scores
from components.results.tables import read_classes
from components.tracking.tracker import metric_name

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
"""The table's headings, by field of a row."""

FRACTIONS = ("miou", *SCORES)


def in_common(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the method, the setting and the split, each only if all rows share it."""
    return {
        name: rows[0][name]
        for name in ("method", "setting", "split")
        if len({row[name] for row in rows}) == 1
    }


def scores_by_target(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return every defined score by its name, `target.score`; the target includes an unusual background policy."""
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


def target_row(evaluation: Path) -> dict[str, Any]:
    """Read the row of an evaluation; a score without classes to average over is None.

    Raises:
        UserError: the folder is not that of an evaluate step.
    """
    scores = read_scores(evaluation)
    classes = read_classes(evaluation)
    row = {
        "num_classes": len(classes),
        "num_seen": int((classes["group"] == "seen").sum()),
        "miou": None if classes["iou"].isna().all() else float(classes["iou"].mean()),
        "background": DROPPED,
        **scores,
    }
    if missing := [name for name in COLUMNS if name not in row]:
        raise UserError(f"{evaluation / SCORES_FILE}: {missing} are missing; run the evaluate step again")
    return {name: row[name] for name in COLUMNS}


def text_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return the rows as strings for people, scores in percent."""
    return pd.DataFrame([_cells(row) for row in rows])


def markdown(table: pd.DataFrame) -> str:
    """Lay out a table in Markdown."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def page(table: pd.DataFrame) -> str:
    """Fill the page; scores stand beside the target, since Kubeflow shows the page in a narrow frame."""
    first = ["target", "mIoU", "hIoU", "mIoU(S)", "mIoU(U)", "pAcc"]
    return fill_template(
        "targets.html",
        titles=[*first, *(title for title in table.columns if title not in first)],
        texts=("target", "background", "method", "setting", "split"),
        lines=table.to_dict("records"),
    )


def _cells(row: dict[str, Any]) -> dict[str, str]:
    percent = {name: "-" if row[name] is None else f"{100 * row[name]:.1f}" for name in FRACTIONS}
    return {title: str(percent.get(name, row[name])) for name, title in COLUMNS.items()}
