"""How often a benchmark rerun cries wolf, and what it finds: `python -m benchmarks.rerun_noise`.

Reruns are drawn in which every training turns out anew, as on another machine, with the means and covariances of
scores that the rows of `docs/results/mini.json` have over their seeds, and held against each other by the comparison
that `cascade-clip benchmark run` makes, with the thresholds of `params.yaml`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from benchmarks.compare import surroundings
from cascade_core.runtime.files import read_json
from components.results.regression import Thresholds, compare, outcome
from components.results.rows import SCORES, RerunRow

RESULTS, PARAMETERS = Path("docs/results/mini.json"), Path("params.yaml")
DRAWS, SEEDS, LOSSES = 2000, (1, 2, 3, 5), (8.0, 6.0)
METHOD, SCORE = "cascade_clip", "hiou"
"""Whose loss (of `LOSSES`, in percent points) is to be found."""


@dataclass(frozen=True)
class Measured:
    """What was measured of one run over its seeds."""

    row: RerunRow
    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[RerunRow]) -> "Measured":
        scores = np.array([[getattr(row, score) for score in SCORES] for row in rows])
        return cls(rows[0], scores.mean(axis=0), np.cov(scores, rowvar=False))

    def drawn(
        self, rng: np.random.Generator, seeds: int, loss: Mapping[str, float] | None = None
    ) -> list[RerunRow]:
        """Draw a row for each of so many seeds, with means that are lower by `loss`, in points."""
        mean = self.mean - [(loss or {}).get(score, 0.0) / 100 for score in SCORES]
        drawn = rng.multivariate_normal(mean, self.covariance, size=seeds, method="eigh")
        return [
            self.row.model_copy(update={"seed": seed, **dict(zip(SCORES, scores, strict=True))})
            for seed, scores in enumerate(drawn.tolist())
        ]


def measured(self_trained: Sequence[str]) -> list[Measured]:
    """Give the runs of `cascade-clip benchmark run` on the mini benchmark: all inductive ones, and who is self-trained."""
    runs: dict[tuple[str, ...], list[RerunRow]] = {}
    for content in read_json(RESULTS):
        row = RerunRow.model_validate(content)
        if row.setting == "inductive" or (row.setting, f"mini_{row.method}") in {
            ("transductive_oracle", recipe) for recipe in self_trained
        }:
            runs.setdefault(row.run, []).append(row)
    return [Measured.of(rows) for rows in runs.values()]


def false_alarms(
    runs: Sequence[Measured], seeds: int, thresholds: Thresholds, rng: np.random.Generator
) -> float:
    """Give the share of reruns, of what has not changed, that are said to have regressed."""

    def rerun() -> list[RerunRow]:
        return [row for run in runs for row in run.drawn(rng, seeds)]

    told = [outcome(compare(rerun(), rerun(), thresholds)) for _ in range(DRAWS)]
    return told.count("regressed") / DRAWS


def found(run: Measured, seeds: int, loss: float, thresholds: Thresholds, rng: np.random.Generator) -> float:
    """Give the share of reruns that find a loss of this run's score."""
    told = [
        change.verdict
        for _ in range(DRAWS)
        for change in compare(run.drawn(rng, seeds, {SCORE: loss}), run.drawn(rng, seeds), thresholds)
        if change.metric == SCORE
    ]
    return told.count("regressed") / DRAWS


if __name__ == "__main__":
    asked = yaml.safe_load(PARAMETERS.read_text())["benchmark"]
    thresholds = Thresholds.read(asked["thresholds"], source=f"{PARAMETERS}: benchmark.thresholds")
    runs, rng = measured(asked["self_trained"]), np.random.default_rng(0)
    lossy = next(run for run in runs if (run.row.method, run.row.setting) == (METHOD, "inductive"))
    deviation = lossy.covariance[list(SCORES).index(SCORE), list(SCORES).index(SCORE)] ** 0.5
    print(surroundings())
    print(
        f"{len(runs)} runs, {DRAWS} reruns drawn; deviation of {METHOD}'s {SCORES[SCORE]} over seeds {100 * deviation:.1f} points"
    )
    for seeds in SEEDS:
        shares = [found(lossy, seeds, loss, thresholds, rng) for loss in LOSSES]
        losses = ", ".join(
            f"{share:.0%} find {loss:g} points less" for share, loss in zip(shares, LOSSES, strict=True)
        )
        print(
            f"{seeds} seeds: {false_alarms(runs, seeds, thresholds, rng):.0%} of reruns regressed without a cause; {losses}"
        )
