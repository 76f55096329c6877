"""An evaluation as artifacts for Kubeflow's pages: its scores and a confusion matrix."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.artifacts.metadata import write_metadata
from components.results.tables import read_classes, read_square_table

if TYPE_CHECKING:
    from components.results.evaluation import Evaluation

CONFUSION_FILE, PER_CLASS_FILE = "confusion.csv", "per_class.csv"
MOST_CLASSES = 25
"""Kubeflow's page cuts larger matrices at the right."""


def present_confusion(evaluation: Path) -> tuple[list[str], list[list[int]]]:
    """Read names and pixel counts (rows: truth) of the classes that have a true or a predicted pixel.

    Raises:
        UserError: the folder is not that of an evaluate step.
    """
    counts = read_square_table(evaluation / CONFUSION_FILE, names="truth", step="an evaluate step")
    present = [name for name in counts.columns if counts[name].any() or counts.loc[name].any()]
    return present, counts.loc[present, present].to_numpy().tolist()


def show(evaluation: "Evaluation", folder: Path, *, scores: Any, confusion: Any) -> None:
    """Log an evaluation, whose step wrote `folder`, to a Metrics and a ClassificationMetrics artifact.

    Raises:
        UserError: the folder is not that of an evaluate step.
    """
    write_metadata(scores, evaluation.scores)
    names, percents = shares(*present_confusion(folder), unseen=_unseen(folder))
    confusion.log_confusion_matrix(names, percents)
    Path(confusion.path).write_text((folder / CONFUSION_FILE).read_text(encoding="utf-8"), encoding="utf-8")


def shares(
    names: Sequence[str],
    counts: Sequence[Sequence[int]],
    *,
    unseen: Collection[str],
    most: int = MOST_CLASSES,
) -> tuple[list[str], list[list[float]]]:
    """Return the classes that Kubeflow's page shows, and the percent of each class's pixels that got each label.

    At most `most` classes: the unseen ones, then those with the most pixels that got another label or are of another
    class. A row may add up to less than 100, since it leaves out the other classes.
    """
    totals = [sum(row) for row in counts]
    wrong = [
        totals[number] + sum(row[number] for row in counts) - 2 * counts[number][number]
        for number in range(len(names))
    ]
    order = sorted(range(len(names)), key=lambda number: (names[number] not in unseen, -wrong[number]))
    chosen = sorted(order[:most])
    percents = [
        [round(100 * counts[row][column] / totals[row], 1) if totals[row] else 0.0 for column in chosen]
        for row in chosen
    ]
    return [names[number] for number in chosen], percents


def _unseen(folder: Path) -> set[str]:
    table = read_classes(folder)
    return set(table.loc[table["group"] == "unseen", "class"])
