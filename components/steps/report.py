"""Step: gather evaluations, profiles and trainings in benchmark.json, a table, and one self-contained HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cascade_core.errors import UserError
from components.contract import Call, Folder, Output, step
from components.results.names import HISTORY_FILE, PROFILE_FILE, THRESHOLDS_FILE

if TYPE_CHECKING:
    from components.results.rows import BenchmarkRow

BENCHMARK_FILE, PAGE_FILE, TABLE_FILE = "benchmark.json", "report.html", "table.md"
METRICS_FILE = "metrics.json"
"""The scores as DVC's tables show them, a column for each."""

Evaluations = Annotated[
    Sequence[Path], Folder("Folder of an evaluate step; repeatable.", flag="--evaluation", made_by="evaluate")
]
Profiles = Annotated[
    Sequence[Path],
    Folder(
        "Folder of a profile step; repeatable.", flag="--profile", content=(PROFILE_FILE,), made_by="profile"
    ),
]


@dataclass(frozen=True)
class Report:
    """The page, and the rows of its table."""

    page: Path
    rows: "tuple[BenchmarkRow, ...]"


@step(
    "report",
    example="cascade-clip report --evaluation outputs/evaluate/zegclip-inductive --profile outputs/profile/zegclip --out local_outputs/report",
)
def run(
    call: Call,
    /,
    *,
    evaluations: Evaluations,
    profiles: Profiles,
    trainings: Annotated[
        Sequence[Path],
        Folder(
            "Folder of a training, for its loss curve; repeatable.",
            flag="--training",
            content=(HISTORY_FILE,),
            made_by="train",
        ),
    ] = (),
    fits: Annotated[
        Sequence[Path],
        Folder(
            "Folder of a fit-thresholds step, for its curves; repeatable.",
            flag="--fit",
            content=(THRESHOLDS_FILE,),
            made_by="fit-thresholds",
        ),
    ] = (),
    out: Annotated[Path, Output(default="local_outputs/reports", stage="reports")],
) -> Report:
    """Gather results in a table and one page.

    Writes `benchmark.json`, `table.md` and `report.html`, with a row per evaluation in the given order, and
    `metrics.json`, the scores by name, hIoU first. `comparison` holds the page's pictures and `confusion` the confusion
    matrices, as files. Each evaluation needs a profile of its method; trainings add loss curves, fits the curves over the seen penalty. The MLflow run holds the same files, in the
    experiment of the first evaluation's protocol.

    Raises:
        UserError: there is no evaluation, an evaluation has no profile, or a file is missing or broken.
    """
    from cascade_core.runtime.files import write_json
    from components.results import report_page
    from components.results.pages import COLOURS
    from components.results.rows import markdown_table, scores_by_name, summaries
    from components.results.thresholds_file import read_thresholds

    if not evaluations:
        raise UserError("a report needs at least one evaluation; run the evaluate step first")
    by_method = report_page.profiles_by_method(profiles)
    evaluated = [report_page.report_entry(folder, by_method) for folder in evaluations]
    rows = tuple(evaluation.row for evaluation in evaluated)
    losses = [
        report_page.curve_of(folder, COLOURS[place % len(COLOURS)]) for place, folder in enumerate(trainings)
    ]
    curves = [curve for curve in losses if curve.points]  # a training-free model has no loss
    fitted = [read_thresholds(folder) for folder in fits]
    with call.writing(
        protocol=rows[0].protocol,
        tags=report_page.facts_in_common(evaluated),
        inputs=_by_last_parts((*evaluations, *profiles, *trainings, *fits)),
    ) as work:
        write_json(work.folder / BENCHMARK_FILE, [row.model_dump(mode="json") for row in rows])
        write_json(work.folder / METRICS_FILE, scores_by_name(rows))
        (work.folder / TABLE_FILE).write_text(markdown_table(rows), encoding="utf-8")
        (work.folder / PAGE_FILE).write_text(report_page.page(evaluated, curves, fitted), encoding="utf-8")
        best = report_page.best_means(summaries(rows))
        work.tracker.metrics({"rows": len(rows)} | {f"best.{score}": mean for score, mean in best.items()})
        pictures = report_page.write_pictures(work.folder, evaluated)
        work.tracker.files(BENCHMARK_FILE, TABLE_FILE, PAGE_FILE, *pictures)
    return Report(out / PAGE_FILE, rows)


def _by_last_parts(folders: Sequence[Path]) -> dict[str, Path]:
    """Name folders by the last two parts of their paths, or by more if these do not distinguish them."""
    different = list(dict.fromkeys(folders))
    most = max(len(folder.parts) for folder in different)
    for count in range(2, most + 1):
        named = {"/".join(folder.parts[-count:]): folder for folder in different}
        if len(named) == len(different):
            break
    return named
