"""An evaluation as artifacts for Kubeflow's pages: its scores and a confusion matrix."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.tables import read_table

if TYPE_CHECKING:
    from components.results.evaluation import Evaluation

CONFUSION_FILE = "confusion.csv"


def present_confusion(evaluation: Path) -> tuple[list[str], list[list[int]]]:
    """Read names and pixel counts (rows: truth) of the classes that have a true or a predicted pixel.

    Raises:
        UserError: the folder is not that of an evaluate step.
    """
    table = read_table(evaluation / CONFUSION_FILE, names="truth", step="an evaluate step")
    counts = table.set_index("truth").astype("int64")
    counts.columns = (
        counts.index
    )  # pandas renames the column of a class called truth, as the name comes twice
    present = [name for name in counts.columns if counts[name].any() or counts.loc[name].any()]
    return present, counts.loc[present, present].to_numpy().tolist()


def show(evaluation: "Evaluation", folder: Path, *, scores: Any, confusion: Any) -> None:
    """Log an evaluation, whose step wrote `folder`, to a Metrics and a ClassificationMetrics artifact.

    Raises:
        UserError: the folder is not that of an evaluate step.
    """
    for name, value in evaluation.scores.items():
        scores.log_metric(name, value)
    confusion.log_confusion_matrix(*present_confusion(folder))
