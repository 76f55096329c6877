"""False alarms and detection rate of benchmark reruns: `python -m benchmarks.rerun_noise`.

It simulates reruns in which every training has new random noise, as on another machine. The scores have the means and
covariances over seeds of the rows in `docs/results/mini.json`. The comparison of `cascade-clip benchmark run`, with the
thresholds of `params.yaml`, then judges pairs of reruns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from benchmarks.machine import surroundings
from cascade_core.runtime.files import read_json
from components.results.regression import Thresholds, compare, outcome
from components.results.rows import SCORES, RerunRow

RESULTS, PARAMETERS = Path("docs/results/mini.json"), Path("params.yaml")
DRAWS, SEEDS, LOSSES = 2000, (1, 2, 3, 5), (8.0, 6.0)
METHOD, SCORE = "cascade_clip", "hiou"
"""The method and score that lose `LOSSES` percent points in the simulation."""


@dataclass(frozen=True)
class ScoreStatistics:
    """Mean and covariance of one run's scores over its seeds."""

    row: RerunRow
    mean: np.ndarray
    covariance: np.ndarray
    num_seeds: int

    @classmethod
    def of(cls, rows: Sequence[RerunRow]) -> "ScoreStatistics":
        scores = np.array([[getattr(row, score) for score in SCORES] for row in rows])
        return cls(rows[0], scores.mean(axis=0), np.cov(scores, rowvar=False), len(rows))

    def simulate(
        self, rng: np.random.Generator, seeds: int, loss: Mapping[str, float] | None = None
    ) -> list[RerunRow]:
        """Draw a row for each of `seeds` seeds, with means lowered by `loss` percent points."""
        mean = self.mean - [(loss or {}).get(score, 0.0) / 100 for score in SCORES]
        samples = rng.multivariate_normal(mean, self.covariance, size=seeds, method="eigh")
        return [
            self.row.model_copy(update={"seed": seed, **dict(zip(SCORES, scores, strict=True))})
            for seed, scores in enumerate(samples.tolist())
        ]


def mini_runs(self_trained: Sequence[str]) -> list[ScoreStatistics]:
    """Return the runs of the main table that `cascade-clip benchmark run` repeats: the inductive and the self-trained ones; it has further methods too."""
    runs: dict[tuple[str, ...], list[RerunRow]] = {}
    for content in read_json(RESULTS):
        row = RerunRow.model_validate(content)
        if row.setting == "inductive" or (row.setting, f"mini_{row.method}") in {
            ("transductive_oracle", recipe) for recipe in self_trained
        }:
            runs.setdefault(row.run, []).append(row)
    return [ScoreStatistics.of(rows) for rows in runs.values()]


def false_alarms(
    runs: Sequence[ScoreStatistics], seeds: int, thresholds: Thresholds, rng: np.random.Generator
) -> float:
    """Return the share of unchanged reruns that the comparison calls regressed."""

    def rerun() -> list[RerunRow]:
        return [row for run in runs for row in run.simulate(rng, seeds)]

    outcomes = [outcome(compare(rerun(), rerun(), thresholds)) for _ in range(DRAWS)]
    return outcomes.count("regressed") / DRAWS


def detection_rate(
    run: ScoreStatistics, seeds: int, loss: float, thresholds: Thresholds, rng: np.random.Generator
) -> float:
    """Return the share of reruns that detect a loss of this run's score."""
    verdicts = [
        change.verdict
        for _ in range(DRAWS)
        for change in compare(run.simulate(rng, seeds, {SCORE: loss}), run.simulate(rng, seeds), thresholds)
        if change.metric == SCORE
    ]
    return verdicts.count("regressed") / DRAWS


if __name__ == "__main__":
    parameters = yaml.safe_load(PARAMETERS.read_text())["benchmark"]
    thresholds = Thresholds.read(parameters["thresholds"], source=f"{PARAMETERS}: benchmark.thresholds")
    runs, rng = mini_runs(parameters["self_trained"]), np.random.default_rng(0)
    lossy = next(run for run in runs if (run.row.method, run.row.setting) == (METHOD, "inductive"))
    deviation = lossy.covariance[list(SCORES).index(SCORE), list(SCORES).index(SCORE)] ** 0.5
    print(surroundings())
    print(
        f"{len(runs)} runs, {DRAWS} reruns drawn, covariances from {min(run.num_seeds for run in runs)} seeds or more; deviation of {METHOD}'s {SCORES[SCORE]} over seeds {100 * deviation:.1f} points"
    )
    for seeds in SEEDS:
        shares = [detection_rate(lossy, seeds, loss, thresholds, rng) for loss in LOSSES]
        losses = ", ".join(
            f"{share:.0%} find {loss:g} points less" for share, loss in zip(shares, LOSSES, strict=True)
        )
        print(
            f"{seeds} seeds: {false_alarms(runs, seeds, thresholds, rng):.0%} of reruns regressed without a cause; {losses}"
        )
