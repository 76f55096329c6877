"""The page of a reproduction: our numbers beside the published ones, and what made ours."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cascade_core.runtime.files import new_file, write_json
from components.artifacts.manifest import data_hash, git_commit
from components.results.reproduction_table import comparison, sources, table
from components.results.rows import BenchmarkRow
from pipelines.workstation.reproduction import Inputs

PAGE_FILE, ROWS_FILE = "reproduction.md", "reproduction.json"
PAGE = """\
# {title}

Scores in percent on the {split} pictures, protocol `{protocol}`; mean ± sample standard deviation over seeds. Rows marked
"this run" are ours, made by `{command}`; rows marked "published" are copied from the sources below; a difference is ours
minus the published number, in points.

{table}
{sources}

Made from {provenance}.
{remarks}"""


def write(
    rows: Sequence[BenchmarkRow],
    inputs: Inputs,
    *,
    title: str,
    command: str,
    remarks: Sequence[str],
    out: Path,
) -> Path:
    """Write the page and the rows as JSON into `out`; return the page's path."""
    cells = comparison(rows)
    machine = f"{os.cpu_count()} CPU cores{_gpu()}, {datetime.now(tz=UTC):%Y-%m-%d}"
    text = PAGE.format(
        title=title,
        split=rows[0].split,
        protocol=rows[0].protocol,
        command=command,
        table=table(cells),
        sources="\n".join(f"- {line}" for line in sources(rows)),
        provenance=f"commit {git_commit() or 'unknown'}, data {data_hash(inputs.prepared)[:12]}, on {machine}",
        remarks="".join(f"\nNot comparable: {line}." for line in remarks) + ("\n" if remarks else ""),
    )
    write_json(
        out / ROWS_FILE,
        {"rows": [row.model_dump() for row in rows], "table": cells, "not_comparable": list(remarks)},
    )
    with new_file(out / PAGE_FILE) as path:
        path.write_text(text, encoding="utf-8")
    return out / PAGE_FILE


def summary(rows: Sequence[BenchmarkRow], remarks: Sequence[str]) -> str:
    """Return the table, its sources and the remarks as text for a terminal."""
    lines = [table(comparison(rows)), *(f"source   {line}" for line in sources(rows))]
    return "\n".join([*lines, *(f"note     not comparable: {line}" for line in remarks)])


def _gpu() -> str:
    import torch  # slow to import

    return f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
