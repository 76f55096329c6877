"""The loss curve of a training: one row for every `log_every` steps, exact after a resume."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file, read_json, write_json
from cascade_core.runtime.validation import validated
from cascade_core.train.loop import StepReport, loss_curve_row
from components.results.names import HISTORY_FILE
from components.results.tables import read_table

PENDING_FILE = "pending_reports.json"
"""Reports of steps after the last row; a resume checkpoint keeps them."""


class History:
    """Rows of the loss curve, and the reports that wait for the next row."""

    def __init__(
        self,
        log_every: int,
        rows: Iterable[Mapping[str, float]] = (),
        pending: Iterable[StepReport] = (),
    ) -> None:
        self.log_every = log_every
        self.rows = [dict(row) for row in rows]
        self.pending = list(pending)

    def add(self, report: StepReport) -> dict[str, float] | None:
        """Add the report of a step; return the row that it completes, if it does."""
        self.pending.append(report)
        if len(self.pending) < self.log_every and report.iteration < report.total_iterations:
            return None
        row = loss_curve_row(self.pending)
        self.rows.append({"iteration": report.iteration, **row})
        self.pending = []
        return row

    def write(self, folder: Path, *, pending: bool = False) -> None:
        """Write `history.csv` into `folder`; with `pending` also the reports that wait for a row."""
        with new_file(folder / HISTORY_FILE) as path:
            pd.DataFrame(self.rows).to_csv(path, index=False)
        if pending:
            write_json(folder / PENDING_FILE, [asdict(report) for report in self.pending])

    @classmethod
    def read(cls, folder: Path, *, log_every: int, until: int) -> "History":
        """Read the rows up to step `until`, and the reports after the last row if `folder` has them.

        Raises:
            UserError: `history.csv` is missing or no table.
        """
        file, rows = folder / HISTORY_FILE, list[dict[str, Any]]()
        if not file.is_file():
            raise UserError(
                f"{file} does not exist, so the loss curve cannot go on; start anew with --no-resume"
            )
        if file.stat().st_size > 1:
            try:
                table = read_table(file, numbers=("iteration", "loss"), step="a training step")
            except UserError as error:
                raise UserError(f"{error}, or start anew with --no-resume") from error
            table = table[table["iteration"] <= until]
            rows = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
        pending = folder / PENDING_FILE
        reports = read_json(pending) if pending.is_file() else []
        way_out = "start anew with --no-resume"
        return cls(log_every, rows, validated(list[StepReport], reports, source=pending, way_out=way_out))
