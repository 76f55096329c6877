"""Our scores beside the published ones: a table whose first column says whose numbers a row holds."""

from collections.abc import Sequence

from components.results.names import SCORES
from components.results.published import Published, published_row
from components.results.rows import BenchmarkRow, Summary, padded_markdown, run_names, summaries

OURS, PUBLISHED, DIFFERENCE = "this run", "published", "difference"


def comparison(rows: Sequence[BenchmarkRow]) -> list[dict[str, str]]:
    """Return the cells of the table: for each run our row, then the published one and the difference in points."""
    cells = []
    for summary in summaries(rows):
        first = summary.first
        names = dict(zip(("method", "setting"), run_names(first.method, first.setting), strict=True))
        theirs = published_row(first.protocol, first.method, first.setting)
        cells.append(
            {
                "numbers": OURS,
                **names,
                "seeds": str(len(summary.seeds)),
                **{title: summary.percent(score) for score, title in SCORES.items()},
            }
        )
        if theirs is not None:
            scores = {title: theirs.percent(score) for score, title in SCORES.items()}
            cells.append({"numbers": PUBLISHED, **names, "seeds": "-", **scores})
            scores = {title: _difference(summary, theirs, score) for score, title in SCORES.items()}
            cells.append({"numbers": DIFFERENCE, **names, "seeds": "", **scores})
    return cells


def sources(rows: Sequence[BenchmarkRow]) -> list[str]:
    """Return the sources of the published rows in the table, each once; a sentence for each run without one."""
    lines = []
    for row in rows:
        theirs = published_row(row.protocol, row.method, row.setting)
        name = " ".join(run_names(row.method, row.setting))
        lines.append(f"{name}: {theirs.source if theirs else 'no published row is known'}")
    return list(dict.fromkeys(lines))


def table(cells: Sequence[dict[str, str]]) -> str:
    """Lay out the cells of `comparison` in Markdown."""
    import pandas as pd  # slow to import

    return padded_markdown(pd.DataFrame(list(cells)), texts=("numbers", "method", "setting"))


def _difference(summary: Summary, theirs: Published, score: str) -> str:
    ours, published = summary.mean[score], getattr(theirs, score)
    return "-" if ours is None or published is None else f"{100 * ours - published:+.1f}"
