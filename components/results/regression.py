"""Whether benchmark results are worse than accepted ones, judged against the run-to-run spread."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cascade_core.errors import UserError
from cascade_core.runtime.validation import validated
from components.results.margins import points
from components.results.rows import SCORES, RerunRow

SPEED = "relative_speed"
"""Images per second as a multiple of what a fixed reference network reaches on the same machine."""

METRICS = {**SCORES, SPEED: "speed"}

ROUNDING = 0.1
"""How far (in points) a score of one and the same checkpoint may move: sums in another order turn a few pixels."""

CONVERTED = {
    "max_drop": "max_drop_points, in percent points: 0.03 becomes 3",
    "max_slowdown": "max_slowdown_share; its value stays a share, such as 0.3",
}
"""Keys of earlier files, whose values are not taken silently in another unit, and what became of them."""

Score = Literal["pAcc", "miou_seen", "miou_unseen", "hiou"]
Verdict = Literal["no change", "better", "worse", "regressed", "new", "missing"]
Run = tuple[str, str, str, str]


class Thresholds(BaseModel):
    """From when on a difference counts; `params.yaml` holds them under `benchmark.thresholds`.

    A score differs if its means lie further apart than `num_deviations` standard errors of their difference,
    taken from the spread over seeds; it has regressed if it differs and fell by more than `max_drop_points`
    (percent points). Without a spread, as between two champions, it differs if it moved by more than that; scores
    of one and the same checkpoint differ if they moved by more than `ROUNDING`. Speed has regressed if it fell by
    more than the share `max_slowdown_share`, and differs if it moved by more than that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_drop_points: dict[Score, Annotated[float, Field(ge=0, lt=100)]]
    max_slowdown_share: float = Field(gt=0, lt=1)
    num_deviations: float = Field(gt=0)

    @classmethod
    def read(cls, values: Mapping[str, object], *, source: str) -> "Thresholds":
        """Check values that come from a file.

        Raises:
            UserError: a field is unknown, out of range or of an earlier version; the message names file and field.
        """
        for key, now in CONVERTED.items():
            if key in values:
                raise UserError(f"{source}: {key} is now {now}; write it so")
        thresholds = validated(cls, values, source=source)
        unsaid = set(SCORES) - set(thresholds.max_drop_points)
        if unsaid:
            raise UserError(
                f"{source}: max_drop_points says nothing of {', '.join(sorted(unsaid))}; give percent points"
            )
        return thresholds


USUAL = Thresholds(
    max_drop_points={"pAcc": 3.0, "miou_seen": 3.0, "miou_unseen": 5.0, "hiou": 4.0},
    max_slowdown_share=0.3,
    num_deviations=2.0,
)
"""Those of the mini benchmark; docs/benchmark.md says why."""


class Change(BaseModel):
    """One metric of one run (protocol, split, method, setting), before and now: a score as a fraction, or a speed.

    `noise` is the largest difference that is taken for chance, in the unit of `difference`.
    """

    model_config = ConfigDict(frozen=True)

    protocol: str
    split: str
    method: str
    setting: str
    metric: str
    before: float | None
    now: float | None
    noise: float | None
    verdict: Verdict

    @property
    def difference(self) -> float | None:
        """What was gained: of a score in percent points, of a speed as a share of what it was."""
        if self.before is None or self.now is None:
            return None
        return _difference(self.metric, self.now, self.before)

    def told(self) -> str:
        """Say it in a line, scores in percent and their noise in points."""
        run = f"{self.protocol} {self.split} {self.method} {self.setting}: {METRICS[self.metric]} {self.verdict}"
        if self.before is None or self.now is None or self.noise is None:
            return run
        if self.metric == SPEED:
            return f"{run}, {self.now:.2f}x against {self.before:.2f}x (noise {100 * self.noise:.1f} %)"
        return f"{run}, {100 * self.now:.2f} against {100 * self.before:.2f} (noise {self.noise:.1f})"


def compare(rows: Sequence[RerunRow], accepted: Sequence[RerunRow], thresholds: Thresholds) -> list[Change]:
    """Compare every metric of every run with the accepted one, in the order of `rows`.

    Runs that only `rows` has are new; those that only `accepted` has are missing. A metric that either side
    leaves undefined (no unseen class, a speed not measured) is not compared.
    """
    now, before = _by_run(rows), _by_run(accepted)
    changes = []
    for run in [*now, *(run for run in before if run not in now)]:
        same = _one_checkpoint(now.get(run, []), before.get(run, []))
        for metric in METRICS:
            values, old = _known(now.get(run, []), metric), _known(before.get(run, []), metric)
            if values or old:
                changes.append(_change(run, metric, values, old, thresholds, same=same))
    return changes


def centres(rows: Sequence[RerunRow]) -> dict[Run, dict[str, float]]:
    """Give each run's scores and speed over its seeds: means of scores, the median of speeds.

    One slow outlier says nothing about speed. Metrics that no row defines are left out.
    """
    return {
        run: {metric: _centre(metric, values) for metric in METRICS if (values := _known(members, metric))}
        for run, members in _by_run(rows).items()
    }


def outcome(changes: Sequence[Change]) -> Literal["no change", "changed", "regressed"]:
    """Sum changes up; a run that is missing counts as regressed, since nobody looked at it."""
    verdicts = {change.verdict for change in changes}
    if verdicts & {"regressed", "missing"}:
        return "regressed"
    return "changed" if verdicts - {"no change"} else "no change"


def _by_run(rows: Sequence[RerunRow]) -> dict[Run, list[RerunRow]]:
    runs: dict[Run, list[RerunRow]] = {}
    for row in rows:
        runs.setdefault(row.run, []).append(row)
    return runs


def _known(rows: Sequence[RerunRow], metric: str) -> list[float]:
    return [value for row in rows if (value := getattr(row, metric)) is not None]


def _one_checkpoint(now: Sequence[RerunRow], before: Sequence[RerunRow]) -> bool:
    """Say whether both sides are one row of the same weights, which no spread over seeds is about."""
    known = {row.checkpoint for row in (*now, *before)}
    return len(now) == len(before) == len(known) == 1 and None not in known


def _change(
    run: Run,
    metric: str,
    values: Sequence[float],
    old: Sequence[float],
    thresholds: Thresholds,
    *,
    same: bool,
) -> Change:
    now, before = (_centre(metric, side) if side else None for side in (values, old))
    noise = _noise(metric, values, old, thresholds, same=same) if values and old else None
    about = dict(zip(("protocol", "split", "method", "setting"), run, strict=True))
    verdict = _verdict(metric, now, before, noise, thresholds)
    return Change(**about, metric=metric, before=before, now=now, noise=noise, verdict=verdict)


def _centre(metric: str, values: Sequence[float]) -> float:
    return statistics.median(values) if metric == SPEED else statistics.fmean(values)


def _difference(metric: str, now: float, before: float) -> float:
    """Give the gain: of a speed as a share, of a score in percent points."""
    return now / before - 1 if metric == SPEED else points(now, before)


def _largest(metric: str, thresholds: Thresholds) -> float:
    """Give the loss that is let pass, in the unit of the metric's difference."""
    if metric == SPEED:
        return thresholds.max_slowdown_share
    return thresholds.max_drop_points[metric]  # type: ignore[index]


def _noise(
    metric: str, values: Sequence[float], old: Sequence[float], thresholds: Thresholds, *, same: bool
) -> float:
    if metric == SPEED:
        return _largest(metric, thresholds)
    if same:
        return ROUNDING
    # A side with one seed has no spread of its own and borrows the other's; two such sides have only the
    # drop that is let pass.
    spreads = [statistics.stdev(side) for side in (values, old) if len(side) > 1]
    if not spreads:
        return _largest(metric, thresholds)
    variance = sum(
        (statistics.stdev(side) if len(side) > 1 else max(spreads)) ** 2 / len(side) for side in (values, old)
    )
    return 100 * thresholds.num_deviations * math.sqrt(variance)


def _verdict(
    metric: str, now: float | None, before: float | None, noise: float | None, thresholds: Thresholds
) -> Verdict:
    if before is None:
        return "new"
    if now is None or noise is None:
        return "missing"
    difference = _difference(metric, now, before)
    if abs(difference) <= noise:
        return "no change"
    if difference > 0:
        return "better"
    return "regressed" if -difference > _largest(metric, thresholds) else "worse"
