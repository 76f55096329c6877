"""Intervals over pictures of the mini table's claims, from the pixel counts in the folders of evaluations.

Counts stay in the work folder; `mini_intervals.json` beside the page keeps the intervals, so that a call for some methods keeps those of
the others.
"""

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from cascade_core.runtime.files import read_json
from cascade_core.runtime.validation import validated
from components.results.intervals import Interval, picture_interval
from components.results.names import PICTURE_COUNTS_FILE, SCORES_FILE
from components.results.rows import BenchmarkRow, ScoreRow
from pipelines.workstation.chain_plan import ChainPlan
from pipelines.workstation.mini_page import Claim, values_by_seed

if TYPE_CHECKING:
    from components.results.picture_counts import CountsOfPictures

INTERVALS_FILE = "mini_intervals.json"


class ClaimInterval(BaseModel):
    """The interval over pictures of one claim, as `components.results.intervals.picture_interval` gives it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    score: str
    better: tuple[str, str]
    worse: tuple[str, str]
    seeds: tuple[int, ...]
    difference: float
    low: float
    high: float

    @property
    def interval(self) -> Interval:
        return Interval(self.difference, self.low, self.high, len(self.seeds))

    def of_claim(self, claim: Claim) -> bool:
        return (self.score, self.better, self.worse) == (claim.score, claim.better, claim.worse)


def drop_uncounted(plans: Sequence[ChainPlan]) -> int:
    """Remove evaluations without pixel counts, as earlier versions wrote them, to be made again; return their number."""
    folders = {model.evaluation for plan in plans for model in plan.models}
    old = [
        folder
        for folder in sorted(folders)
        if (folder / SCORES_FILE).is_file() and not (folder / PICTURE_COUNTS_FILE).is_file()
    ]
    for folder in old:
        shutil.rmtree(folder)
    return len(old)


def claim_intervals(
    claims: Sequence[Claim],
    rows: Sequence[BenchmarkRow],
    plans: Sequence[ChainPlan],
    kept: Sequence[ClaimInterval],
) -> list[ClaimInterval]:
    """Return the interval of each claim whose evaluations are in the folders of `plans`, else the one that was kept.

    Evaluations must have the rows' scores; a kept interval must be of the same seeds and the same difference. Other claims have none.
    """
    folders = {
        (row.method, row.setting, row.seed): (row, model.evaluation)
        for plan in plans
        for model in plan.models
        if (model.evaluation / PICTURE_COUNTS_FILE).is_file()
        for row in (ScoreRow.of_evaluation(model.evaluation),)
    }
    current = {(row.method, row.setting, row.seed): row for row in rows}
    folders_of_rows = {
        key: folder
        for key, (row, folder) in folders.items()
        if key in current and current[key].hiou == row.hiou and current[key].split == row.split
    }
    done = [interval_of(claim, rows, folders_of_rows, kept) for claim in claims]
    return [interval for interval in done if interval is not None]


def intervals_by_claim(claims: Sequence[Claim], intervals: Sequence[ClaimInterval]) -> dict[Claim, Interval]:
    """Return the interval of each claim that has one."""
    return {claim: one.interval for claim in claims for one in intervals if one.of_claim(claim)}


def read_intervals(file: Path) -> list[ClaimInterval]:
    """Read the intervals of an earlier call; none if there is no file.

    Raises:
        UserError: the file holds something else.
    """
    if not file.is_file():
        return []
    way_out = "remove it, and measure all methods"
    return validated(list[ClaimInterval], read_json(file), source=file, way_out=way_out)


def interval_of(
    claim: Claim,
    rows: Sequence[ScoreRow],
    folders: Mapping[tuple[str, str, int], Path],
    kept: Sequence[ClaimInterval] = (),
) -> ClaimInterval | None:
    """Return the interval of a claim over the seeds of both runs, from the counts in the folders of their evaluations.

    If one lacks its counts, return the interval that was `kept`, of the same seeds and the same difference; None if there is none.
    """
    better, worse = (values_by_seed(rows, run, claim.score) for run in (claim.better, claim.worse))
    seeds = tuple(sorted(better.keys() & worse.keys()))
    if not seeds:
        return None
    sides = [_counts(run, seeds, folders) for run in (claim.better, claim.worse)]
    if any(side is None for side in sides):
        difference = fmean(better[seed] - worse[seed] for seed in seeds)
        same = [one for one in kept if one.of_claim(claim) and one.seeds == seeds]
        return next((one for one in same if math.isclose(one.difference, difference, abs_tol=1e-9)), None)
    interval = picture_interval(sides[0] or {}, sides[1] or {}, claim.score)
    if interval is None:
        return None
    ends = {"difference": interval.difference, "low": interval.low, "high": interval.high}
    return ClaimInterval(score=claim.score, better=claim.better, worse=claim.worse, seeds=seeds, **ends)


def _counts(
    run: tuple[str, str], seeds: Sequence[int], folders: Mapping[tuple[str, str, int], Path]
) -> dict[int, "CountsOfPictures"] | None:
    """Read the counts of a run's evaluations; None if one is missing."""
    from components.results.picture_counts import (
        read_counts,
    )  # slow to import, and commands read this module for their help

    read = {seed: read_counts(folders[*run, seed]) for seed in seeds if (*run, seed) in folders}
    complete = {seed: counts for seed, counts in read.items() if counts is not None}
    return complete if len(complete) == len(seeds) else None
