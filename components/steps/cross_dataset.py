"""Step: gather evaluations of one checkpoint on several data sets in a table, as JSON, Markdown and HTML."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_core.errors import UserError
from components.contract import Call, step
from components.contract.shared import Out
from components.steps.report import Evaluations
from components.tracking.experiments import CROSS_DATASET

ROWS_FILE, TABLE_FILE, PAGE_FILE = "cross_dataset.json", "table.md", "table.html"


@dataclass(frozen=True)
class Comparison:
    """The page with the table, and its rows; scores are fractions, or None if there is nothing to average."""

    page: Path
    rows: tuple[dict[str, Any], ...]


@step("cross_dataset")
def run(call: Call, /, *, evaluations: Evaluations, out: Out) -> Comparison:
    """Gather evaluations of one checkpoint on several data sets.

    Writes a row per evaluation, in the given order, with scores over all, seen and unseen classes. Papers report
    mIoU over all classes for other data sets. Scores over seen and unseen classes differ from it only after
    `--target-seen names` (see `components/steps/evaluate.py`). The run in MLflow holds the same files and names every data set.

    Raises:
        UserError: there is no evaluation, or a folder is not that of an evaluate step.
    """
    from cascade_core.runtime.files import write_json
    from components.results import target_rows
    from components.results.step_files import read_scores

    if not evaluations:
        raise UserError("a comparison needs at least one evaluation; name at least one target")
    rows = [target_rows.target_row(folder) for folder in evaluations]
    with call.writing(protocol=CROSS_DATASET, tags=target_rows.in_common(rows)) as work:
        for evaluation, row in zip(evaluations, rows, strict=True):
            if data_hash := read_scores(evaluation).get("data_hash"):
                work.tracker.dataset(row["protocol"], data_hash, source=row["protocol"])
        work.tracker.metrics(target_rows.scores_by_target(rows))
        table = target_rows.text_table(rows)
        write_json(work.folder / ROWS_FILE, rows)
        (work.folder / TABLE_FILE).write_text(target_rows.markdown(table), encoding="utf-8")
        (work.folder / PAGE_FILE).write_text(target_rows.page(table), encoding="utf-8")
        work.tracker.files(ROWS_FILE, TABLE_FILE, PAGE_FILE)
    return Comparison(out / PAGE_FILE, tuple(rows))
