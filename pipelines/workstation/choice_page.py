"""The page of a choice: the settings of a theme for choices, over all protocols whose pages lie in a folder."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from cascade_core.configs.themes.theme import Theme
from cascade_core.errors import UserError
from components.results.intervals import Interval, mean_interval
from components.results.rows import SCORES
from pipelines.workstation.ablation_page import ThemeResult, cell_values

PAGE = """\
# Choice: {title}

{paper}

Of {sources}, on the {split} pictures. Percent. Each training is paired with that of the first row with the same protocol and seed, and a row has the pairs alone; the interval of the mean
difference is that over trainings (Student's t, 95 %). Protocols share pictures and most classes, so that their trainings are not as independent as those on other pictures would be.

| setting | pairs | {score} | difference | interval |
|---|--:|--:|--:|---|
{lines}

**The rule**: the setting with the highest mean difference, if its interval lies above zero. {choice}
"""


def protocol_results(
    folder: Path, theme: Theme, recipe: str, split: str, *, without: str = ""
) -> list[ThemeResult]:
    """Read the files of a theme for choices in a folder, one for each protocol, but the one of the name `without`.

    Raises:
        UserError: a file holds something else, or is of another recipe or split.
    """
    files = [file for file in sorted(folder.glob(f"{theme.name}-*.json")) if file.stem != without]
    results = [ThemeResult.read(file) for file in files]
    for file, result in zip(files, results, strict=True):
        if (result.recipe, result.split) != (recipe, split):
            raise UserError(
                f"{file} is of recipe {result.recipe} on {result.split}, not of {recipe} on {split}: a choice joins the protocols of "
                "one recipe; give --results another folder"
            )
    return results


def choice_page(folder: Path, theme: Theme, recipe: str, split: str) -> str:
    """Write the page of a theme from the files of all protocols in the folder.

    Raises:
        UserError: as of `protocol_results`.
    """
    results = protocol_results(folder, theme, recipe, split)
    lines, best, base = [], None, _by_training(results, theme.base.name, theme.score)
    for cell in theme.cells:
        own = _by_training(results, cell.name, theme.score)
        pairs = sorted(own.keys() & base.keys())
        interval = mean_interval([own[key] - base[key] for key in pairs])
        if interval is None:
            continue
        is_base = cell == theme.base
        cells = [cell.label, str(len(pairs)), f"{100 * fmean(own[key] for key in pairs):.1f}"]
        cells += ["-", "-"] if is_base else [f"{100 * interval.difference:+.1f}", interval.ends]
        lines.append(f"| {' | '.join(cells)} |")
        if cell in theme.settings[1:] and (best is None or interval.difference > best[1].difference):
            best = (cell.label, interval)
    return PAGE.format(
        title=theme.title,
        paper=theme.paper,
        sources=", ".join(f"[{result.stem}]({result.stem}.md)" for result in results),
        split=split,
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
    return {
        (result.rows[0].protocol, seed): value
        for result in results
        for seed, value in cell_values(result.rows, cell, score).items()
    }
