"""The page of one theme of ablations: a table with each setting's difference to the published one, the claims, a chart."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from cascade_core.configs.ablations import SEPARATOR, THEMES
from cascade_core.configs.recipes import recipe as named_recipe
from cascade_core.configs.themes.theme import Cell, CellClaim, Theme
from cascade_core.runtime.files import read_json
from cascade_core.runtime.validation import validated
from components.results.intervals import (
    CONFIDENCE,
    Interval,
    paired_interval,
    picture_interval,
)
from components.results.rows import SCORES, padded_markdown, thousands
from pipelines.workstation.claim_cells import claim_cells
from pipelines.workstation.mini_page import COLLAPSED, MiniRow, has_collapsed

if TYPE_CHECKING:
    from components.results.picture_counts import CountsOfPictures

INDEX = "ablations.md"
PAGE = """\
# Ablation: {theme.title}

**The paper.** {theme.paper}

Made by `{result.command}` on the {result.split} pictures, protocol `{protocol}`, from the recipe `{result.recipe}`. Percent, mean ± sample \
standard deviation over seeds {seeds}; {role}. Rows in [{result.stem}.json]({result.stem}.json). Made from {made_from}.

{table}
The difference is that of {score} to the first row, in points, with its 95 % interval over seeds (Student's t, paired by seed).
{failures}
![Scores of each setting]({result.stem}.svg)

## Claims

Differences in points with two 95 % intervals: over **seeds** (another training, the same pictures) and over **pictures** ({resamples:,} bootstrap resamples \
of the pictures, the same trainings). Their reaches add in squares and make the interval of **both**: a claim *holds* if it lies above zero, *does not hold* if it lies below, and else \
*cannot be told*; so it is if an interval is missing. The number of seeds stands in brackets. These are {num_claims} comparisons: of so many without a difference, at most {by_chance} would be expected to hold or not to \
hold by chance. Neither interval covers another CLIP or another drawing of the training pictures.

| claim | whose | measured | difference | over seeds | over pictures | both | |
|---|---|---|--:|--:|--:|--:|---|
{claims}
{collapses}
## Settings

{use}

| setting | NAME | overrides |
|---|---|---|
{settings}

All themes: [{index}]({index}); how to run them: [ablations.md](../ablations.md).
"""
FOR_CHOICES = "these scores are for choices, and the best of many is in part better by luck"
FAILURE = "Of {setting}, seed {seed} has a hIoU of {own:.1f}, less than half of the median {median:.1f} over its seeds: this training failed, and counts like the others."
COLLAPSES = """
## Collapses

A self-training *collapsed* if its hIoU is below {share:.0%} of the hIoU of the same seed with {parent}. Of {num_runs} self-trainings {num_collapsed} collapsed.

| setting | collapsed | lowest hIoU | its seed | hIoU of that seed with {parent} |
|---|--:|--:|--:|--:|
{lines}
"""
USE = "What each row changes in `{recipe}`; `--recipe {recipe}{separator}{theme.name}.NAME` names it for every command that takes a recipe."
USE_OF_SELF_TRAININGS = (
    "All self-trainings of a seed start from the half-way checkpoint of one training of `{recipe}`: `cascade-clip self-train --trained TRAINING --mode MODE --set "
    "KEY=VALUE` with the mode and the other overrides of a row repeats it."
)
INDEX_PAGE = """\
# Ablations: what holds here

One line per claim of [every theme](../ablations.md) that was run; each page has the table, the chart, the command and the intervals. These are {num_claims} comparisons; each
page says how many of its own would be expected to hold or not to hold by chance.

| theme | claim | whose | measured | difference | |
|---|---|---|---|--:|---|
{lines}
"""


class CellRow(MiniRow):
    """A row of a cell, of one seed."""

    cell: str


class CellDifference(BaseModel):
    """The mean difference of a score of two cells, as a fraction, with the ends of its intervals; None: infinite, or not known.

    `claim` is its text; None for the comparison of a cell with the first one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    claim: str | None
    score: str
    better: str
    worse: str
    num_seeds: int
    difference: float
    seeds: tuple[float, float] | None
    pictures: tuple[float, float] | None

    @classmethod
    def of(
        cls, claim: str | None, score: str, cells: tuple[str, str], seeds: Interval, pictures: Interval | None
    ) -> "CellDifference":
        """Join the two intervals of one difference."""
        return cls(
            claim=claim,
            score=score,
            better=cells[0],
            worse=cells[1],
            num_seeds=seeds.num_seeds,
            difference=seeds.difference,
            seeds=None if seeds.is_infinite else (seeds.low, seeds.high),
            pictures=None if pictures is None else (pictures.low, pictures.high),
        )

    @property
    def over_seeds(self) -> Interval:
        """The interval over seeds."""
        low, high = self.seeds or (-math.inf, math.inf)
        return Interval(self.difference, low, high, self.num_seeds)

    @property
    def over_pictures(self) -> Interval | None:
        """The interval over pictures; None if it is missing."""
        return None if self.pictures is None else Interval(self.difference, *self.pictures, self.num_seeds)


class ThemeResult(BaseModel):
    """What was measured for a theme, as it lies in its JSON file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    theme: str
    recipe: str
    command: str
    split: str
    seeds: tuple[int, ...]
    overrides: dict[str, dict[str, Any]]
    rows: tuple[CellRow, ...]
    differences: tuple[CellDifference, ...]

    @property
    def stem(self) -> str:
        """The name of its files."""
        return file_stem(self.theme, self.recipe, self.rows[0].protocol)

    @classmethod
    def read(cls, file: Path) -> "ThemeResult":
        """Read a file of an earlier call.

        Raises:
            UserError: it holds something else.
        """
        return validated(
            cls, read_json(file), source=file, way_out="run `cascade-clip ablation` for it again"
        )


def file_stem(theme: str, base: str, protocol: str) -> str:
    """Return the name of the files of a theme, which ends with the protocol if that is not the base recipe's own."""
    return theme if named_recipe(base).data.protocol == protocol else f"{theme}-{protocol}"


def differences(
    theme: Theme, rows: Sequence[CellRow], counts: Mapping[tuple[str, int], "CountsOfPictures"]
) -> list[CellDifference]:
    """Compare each cell with the first one, and the cells of each claim; `counts` are by cell and seed."""
    to_first = [
        CellClaim("", "here", theme.score, cell.name, theme.base.name)
        for cell in theme.cells
        if cell != theme.base
    ]
    done = []
    for claim in (*to_first, *theme.claims):
        better, worse = (cell_values(rows, cell, claim.score) for cell in (claim.better, claim.worse))
        seeds = paired_interval(better, worse)
        if seeds is None:
            continue
        sides = [
            {seed: counts[cell, seed] for seed in better.keys() & worse.keys() if (cell, seed) in counts}
            for cell in (claim.better, claim.worse)
        ]
        complete = all(len(side) == seeds.num_seeds for side in sides)
        pictures = picture_interval(sides[0], sides[1], claim.score) if complete else None
        cells = (claim.better, claim.worse)
        done.append(CellDifference.of(claim.text or None, claim.score, cells, seeds, pictures))
    return done


def page(result: ThemeResult) -> str:
    """Write the page of a theme."""
    from cascade_core.scoring.bootstrap import RESAMPLES

    theme = THEMES[result.theme]
    claims = list(_claim_cells(result))
    return PAGE.format(
        theme=theme,
        result=result,
        protocol=result.rows[0].measured_by,
        seeds=", ".join(map(str, result.seeds)),
        made_from="; ".join(dict.fromkeys(row.made_from for row in result.rows)),
        table=_table(theme, result),
        role=FOR_CHOICES if theme.for_choices else "nothing was chosen by these scores",
        score=SCORES[theme.score],
        resamples=RESAMPLES,
        num_claims=len(claims),
        by_chance=f"{(1 - CONFIDENCE) * len(claims):.1f}",
        claims="\n".join(f"| {' | '.join(cells)} |" for cells in claims),
        failures=_failures(theme, result),
        collapses=_collapses(theme, result),
        use=(USE if theme.without_self_training is None else USE_OF_SELF_TRAININGS).format(
            recipe=result.recipe, separator=SEPARATOR, theme=theme
        ),
        settings="\n".join(_setting(cell, result.overrides[cell.name]) for cell in theme.cells),
        index=INDEX,
    )


def index_page(folder: Path) -> str:
    """Write the page that lists the claims of every theme whose file is in the folder, but those for choices."""
    lines = []
    for theme in THEMES.values():
        file = folder / f"{theme.name}.json"
        if file.is_file() and not theme.for_choices:
            for claim, whose, measured, difference, *_, word in _claim_cells(ThemeResult.read(file)):
                link = f"[{theme.title}]({theme.name}.md)"
                lines.append(f"| {' | '.join([link, claim, whose, measured, difference, word])} |")
    return INDEX_PAGE.format(num_claims=len(lines), lines="\n".join(lines))


def chart(result: ThemeResult) -> str:
    """Draw the cells of a theme as SVG."""
    from components.results.cell_chart import SHOWN, cell_chart

    theme = THEMES[result.theme]
    values = {
        score: [list(cell_values(result.rows, cell.name, score).values()) for cell in theme.cells]
        for score in SHOWN
    }
    return cell_chart([cell.label for cell in theme.cells], values)


def cell_values(rows: Sequence[CellRow], cell: str, score: str) -> dict[int, float]:
    """Return a score of a cell by seed, where it is defined."""
    own = (row for row in rows if row.cell == cell)
    return {row.seed: value for row in own if (value := getattr(row, score)) is not None}


def _table(theme: Theme, result: ThemeResult) -> str:
    import pandas as pd  # slow to import, and commands read this module for their help

    to_first = {one.better: one for one in result.differences if one.claim is None}
    return padded_markdown(
        pd.DataFrame([_row(cell, theme, result, to_first.get(cell.name)) for cell in theme.cells]),
        texts=("setting", "interval"),
    )


def _row(cell: Cell, theme: Theme, result: ThemeResult, difference: CellDifference | None) -> dict[str, str]:
    first = next(row for row in result.rows if row.cell == cell.name)
    return {
        "setting": cell.label,
        **{title: _percent(cell_values(result.rows, cell.name, score)) for score, title in SCORES.items()},
        f"{SCORES[theme.score]} difference": "-"
        if difference is None
        else f"{100 * difference.difference:+.1f}",
        "interval": "-" if difference is None else difference.over_seeds.ends,
        "trainable": thousands(first.trainable_params),
    }


def _percent(values: Mapping[int, float]) -> str:
    from statistics import stdev

    if not values:
        return "-"
    mean = f"{100 * fmean(values.values()):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * stdev(values.values()):.1f}"


def _claim_cells(result: ThemeResult) -> Iterator[list[str]]:
    """Yield the cells of the table of claims."""
    theme = THEMES[result.theme]
    by_claim = {(one.claim, one.score, one.better, one.worse): one for one in result.differences}
    for claim in theme.claims:
        one = by_claim.get((claim.text, claim.score, claim.better, claim.worse))
        better, worse = (cell_values(result.rows, cell, claim.score) for cell in (claim.better, claim.worse))
        seeds, pictures = (None, None) if one is None else (one.over_seeds, one.over_pictures)
        cells = claim_cells(claim.score, better, worse, seeds=seeds, pictures=pictures)
        yield [claim.text, claim.source, *cells]


def _failures(theme: Theme, result: ThemeResult) -> str:
    """Name the trainings that are far below the others of their setting; those of self-trainings have a section of their own."""
    lines = []
    for cell in theme.cells:
        values = cell_values(result.rows, cell.name, "hiou") if cell.mode is None else {}
        middle = median(values.values()) if values else 0.0
        lines += [
            FAILURE.format(setting=cell.label, seed=seed, own=100 * own, median=100 * middle)
            for seed, own in values.items()
            if has_collapsed(own, middle)
        ]
    return f"\n{' '.join(lines)}\n" if lines else ""


def _collapses(theme: Theme, result: ThemeResult) -> str:
    """Write the section that counts collapsed self-trainings; nothing if the theme has none."""
    parent = theme.without_self_training
    if parent is None:
        return ""
    before = cell_values(result.rows, parent.name, "hiou")
    lines, num_runs, num_collapsed = [], 0, 0
    for cell in theme.cells:
        own = {
            seed: value
            for seed, value in cell_values(result.rows, cell.name, "hiou").items()
            if seed in before
        }
        if cell.mode is None or not own:
            continue
        collapsed = sum(has_collapsed(value, before[seed]) for seed, value in own.items())
        worst = min(own, key=own.__getitem__)
        num_runs, num_collapsed = num_runs + len(own), num_collapsed + collapsed
        lines.append(
            f"| {cell.label} | {collapsed} of {len(own)} | {100 * own[worst]:.1f} | {worst} | {100 * before[worst]:.1f} |"
        )
    return COLLAPSES.format(
        share=COLLAPSED,
        parent=parent.label,
        num_runs=num_runs,
        num_collapsed=num_collapsed,
        lines="\n".join(lines),
    )


def _setting(cell: Cell, overrides: Mapping[str, Any]) -> str:
    texts = ", ".join(f"`{key}={value}`" for key, value in overrides.items())
    return f"| {cell.label} | `{cell.name}` | {texts or 'none'} |"
