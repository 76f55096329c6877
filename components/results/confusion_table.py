"""An evaluation as Kubeflow's pages show it: its scores, and the confusion matrix of the classes at hand."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.tables import read_table

if TYPE_CHECKING:
    from components.results.evaluation import Evaluation

CONFUSION_FILE = "confusion.csv"


def confusion_at_hand(evaluation: Path) -> tuple[list[str], list[list[int]]]:
    """Give class names and pixel counts (rows: truth) of the classes that are present or were predicted.

    Raises:
        UserError: the folder is not that of an evaluate step.
    """
    table = read_table(evaluation / CONFUSION_FILE, names="truth", step="an evaluate step")
    counts = table.set_index("truth").astype("int64")
    counts.columns = counts.index  # the same classes; in the header, one called truth comes twice
    at_hand = [name for name in counts.columns if counts[name].any() or counts.loc[name].any()]
    return at_hand, counts.loc[at_hand, at_hand].to_numpy().tolist()


def show(found: "Evaluation", folder: Path, *, scores: Any, confusion: Any) -> None:
    """Put an evaluation, whose step wrote `folder`, into a Metrics and a ClassificationMetrics artifact.

    Raises:
        UserError: the folder is not that of an evaluate step.
    """
    for name, value in found.scores.items():
        scores.log_metric(name, value)
    confusion.log_confusion_matrix(*confusion_at_hand(folder))
