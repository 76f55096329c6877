"""The page of a choice: the settings of a theme for choices, over all protocols whose pages lie in a folder."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from cascade_core.configs.themes.theme import Theme
from components.results.intervals import Interval, mean_interval
from components.results.rows import SCORES
from pipelines.workstation.ablation_page import ThemeResult

PAGE = """\
# Choice: {title}

{paper}

Of {sources}, on the {split} pictures. Percent. Each training is paired with that of the first row with the same protocol and seed; the interval of the mean difference is that over
trainings (Student's t, 95 %). The protocols share the pictures, and their trainings share most classes, so that they are not as independent as other pictures would be.

| setting | trainings | {score} | difference | interval |
|---|--:|--:|--:|---|
{lines}

**The rule**: the setting with the highest mean difference, if its interval lies above zero. {choice}
"""


def choice_page(folder: Path, theme: Theme) -> str:
    """Write the page of a theme from the files of all protocols in the folder.

    Raises:
        UserError: a file holds something else.
    """
    files = sorted(folder.glob(f"{theme.name}-*.json"))
    results = [ThemeResult.read(file) for file in files]
    lines, best, base = [], None, _by_training(results, theme.base.name, theme.score)
    for cell in theme.cells:
        own = _by_training(results, cell.name, theme.score)
        shared = own.keys() & base.keys()
        interval = mean_interval([own[key] - base[key] for key in sorted(shared)])
        if interval is None:
            continue
        is_base = cell == theme.base
        cells = [cell.label, str(len(own)), f"{100 * fmean(own.values()):.1f}"]
        cells += ["-", "-"] if is_base else [f"{100 * interval.difference:+.1f}", interval.ends]
        lines.append(f"| {' | '.join(cells)} |")
        if not is_base and (best is None or interval.difference > best[1].difference):
            best = (cell.label, interval)
    return PAGE.format(
        title=theme.title,
        paper=theme.paper,
        sources=", ".join(f"[{file.stem}]({file.stem}.md)" for file in files),
        split=results[0].split,
        score=SCORES[theme.score],
        lines="\n".join(lines),
        choice=_choice(best),
    )


def _choice(best: tuple[str, Interval] | None) -> str:
    if best is None or best[1].word != "holds":
        return "It chooses nothing."
    return f"It chooses **{best[0]}**."


def _by_training(results: Sequence[ThemeResult], cell: str, score: str) -> dict[tuple[str, int], float]:
    """Return a score of a cell by protocol and seed."""
    rows = [row for result in results for row in result.rows if row.cell == cell]
    values = ((row.protocol, row.seed, getattr(row, score)) for row in rows)
    return {(protocol, seed): value for protocol, seed, value in values if value is not None}
