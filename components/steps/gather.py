"""Step: join the shards of a list, count the classes, and show counts and failures on one page."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from components.contract import Call, Folder, step
from components.contract.shared import Out
from components.steps.list_pictures import Place
from components.steps.predict import SHARD_FILE
from components.tracking.experiments import PREDICTIONS

if TYPE_CHECKING:
    from components.bulk.gather import Gathered

PAGE_FILE, TABLE_FILE, HISTOGRAM_FILE, FAILURES_FILE = (
    "predictions.html", "table.md", "histogram.csv", "failures.csv",
)  # fmt: skip
FAILURES_SHOWN = 20


@dataclass(frozen=True)
class Predictions:
    """The page, and the counts on it: pictures, those with an error, and those whose rows were there before."""

    page: Path
    pictures: int
    failed: int
    kept: int


@step("gather")
def run(
    call: Call,
    /,
    *,
    shards: Annotated[Sequence[Path], Folder("Folder of a predict step; repeatable.", content=(SHARD_FILE,))],
    place: Place,
    out: Out,
) -> Predictions:
    """Join the shards' tables at the place of the results, and count pictures, failures, and pixels of each class.

    Writes a page, the histogram of classes, the first thousand failures, and the table for a terminal. The MLflow run holds
    the same files, and the counts as metrics.

    Raises:
        UserError: a shard is missing or not finished, was made by another plan, or its table has changed.
    """
    from cascade_core.runtime.files import read_json
    from components.bulk import gather as gathering
    from components.results.prediction_page import class_lines, page
    from components.results.target_rows import markdown

    with call.writing(protocol=PREDICTIONS, parameters={"place": place}) as work:
        gathered = gathering.run(place)
        kept = sum(read_json(folder / SHARD_FILE)["kept"] for folder in shards)
        counts = {"pictures": gathered.pictures, "failed": gathered.failed, "kept": kept}
        work.tracker.metrics({**counts, **_pixels(gathered)})
        (work.folder / HISTOGRAM_FILE).write_bytes(gathering.histogram(gathered.classes))
        _write_failures(work.folder / FAILURES_FILE, gathered)
        table = markdown(class_lines(gathered))
        (work.folder / TABLE_FILE).write_text(
            f"{place}: {gathered.pictures:,} pictures, {gathered.failed:,} of them failed\n\n{table}",
            encoding="utf-8",
        )
        text = page(gathered, place=place, failures=gathered.failures[:FAILURES_SHOWN])
        (work.folder / PAGE_FILE).write_text(text, encoding="utf-8")
        work.tracker.files(PAGE_FILE, HISTOGRAM_FILE, FAILURES_FILE)
    return Predictions(out / PAGE_FILE, **counts)


def _pixels(gathered: "Gathered") -> dict[str, float]:
    """Return the pixels of each class by the name of the metric; the id distinguishes names that MLflow makes equal."""
    from components.tracking.tracker import metric_name

    named: dict[str, float] = {}
    for total in gathered.classes:
        name = f"pixels.{metric_name(total.label)}"
        named[name if name not in named else f"{name}.{total.id}"] = total.pixels
    return named


def _write_failures(path: Path, gathered: "Gathered") -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("picture", "error"))
        writer.writerows(gathered.failures)
