"""Compare benchmark results with accepted ones: a regression is larger than the spread over seeds explains."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cascade_core.errors import UserError
from cascade_core.runtime.validation import validated
from components.results.margins import points
from components.results.names import SCORES
from components.results.rows import RerunRow, Run, by_run, defined_values

SPEED = "relative_speed"
"""Speed is images per second as a multiple of a fixed reference network's on the same machine."""
METRICS = {**SCORES, SPEED: "speed"}

ROUNDING = 0.1
"""A score of one checkpoint may move this far (in points): sums in another order change the argmax of a few pixels."""

CONVERTED = {
    "max_drop": "max_drop_points, in percent points: 0.03 becomes 3",
    "max_slowdown": "max_slowdown_share; its value stays a share, such as 0.3",
    "num_deviations": "confidence, the share of unchanged scores that count as unchanged: 2 becomes 0.95",
}
"""Keys of earlier files are refused with their successor, since the unit may have changed."""

Score = Literal["pAcc", "miou_seen", "miou_unseen", "hiou"]
Verdict = Literal["no change", "better", "worse", "regressed", "new", "missing"]


class Thresholds(BaseModel):
    """The thresholds above which a difference counts; `params.yaml` holds them under `benchmark.thresholds`.

    A score differs if its means lie further apart than chance explains at this `confidence`: 0.95 calls one of twenty
    unchanged scores changed. Chance is estimated from the spread over seeds (Welch's t interval). Without a spread (one seed on each side) it differs if it moved by more
    than `max_drop_points` (percent points), or than `ROUNDING` if both sides scored one checkpoint. It regressed if
    it differs and fell by more than `max_drop_points`. Speed differs if it moved by more than the share
    `max_slowdown_share`, and regressed if it fell by more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_drop_points: dict[Score, Annotated[float, Field(ge=0, lt=100)]]
    max_slowdown_share: float = Field(gt=0, lt=1)
    confidence: float = Field(ge=0.5, lt=1)

    @classmethod
    def read(cls, values: Mapping[str, object], *, source: str) -> "Thresholds":
        """Check values that come from the file `source`.

        Raises:
            UserError: a field is unknown, out of range or of an earlier version.
        """
        for key, successor in CONVERTED.items():
            if key in values:
                raise UserError(f"{source}: {key} is now {successor}; write it so")
        thresholds = validated(cls, values, source=source)
        if missing := set(SCORES) - set(thresholds.max_drop_points):
            raise UserError(
                f"{source}: max_drop_points lacks {', '.join(sorted(missing))}; give percent points"
            )
        return thresholds

    def largest_loss(self, metric: str) -> float:
        """Return the largest loss that is no regression: a share for speed, points for a score."""
        if metric == SPEED:
            return self.max_slowdown_share
        return self.max_drop_points[metric]  # type: ignore[index]


USUAL = Thresholds(
    max_drop_points={"pAcc": 3.0, "miou_seen": 3.0, "miou_unseen": 5.0, "hiou": 4.0},
    max_slowdown_share=0.3,
    confidence=0.95,
)
"""The mini benchmark has these thresholds; docs/benchmark.md derives them."""


class Change(BaseModel):
    """One metric of one run, before and now: a score as a fraction, or a relative speed.

    `noise` is the largest difference that counts as chance, in the unit of `difference`.
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
        """The gain: percent points of a score, a share of the earlier speed; None if one side is missing."""
        if self.before is None or self.now is None:
            return None
        return _difference(self.metric, self.now, self.before)

    def line(self) -> str:
        """Describe the change in a line: scores in percent, their noise in points."""
        run = f"{self.protocol} {self.split} {self.method} {self.setting}: {METRICS[self.metric]} {self.verdict}"
        if self.before is None or self.now is None or self.noise is None:
            return run
        if self.metric == SPEED:
            return f"{run}, {self.now:.2f}x against {self.before:.2f}x (noise {100 * self.noise:.1f} %)"
        return f"{run}, {100 * self.now:.2f} against {100 * self.before:.2f} (noise {self.noise:.1f})"


def compare(rows: Sequence[RerunRow], accepted: Sequence[RerunRow], thresholds: Thresholds) -> list[Change]:
    """Compare every metric of every run with the accepted one, in the order of `rows`.

    Runs that only `rows` has are new; those that only `accepted` has are missing. A metric that neither side
    defines (no unseen class, speed not measured) is left out.
    """
    now, before = by_run(rows), by_run(accepted)
    changes = (
        _change(run, metric, now.get(run, []), before.get(run, []), thresholds)
        for run in {**now, **before}
        for metric in METRICS
    )
    return [change for change in changes if change is not None]


def centres(rows: Sequence[RerunRow]) -> dict[Run, dict[str, float]]:
    """Average each run over its seeds: the mean of a score, the median of speed, which ignores slow outliers.

    A metric that no row of a run defines is left out.
    """
    return {
        run: {
            metric: _centre(metric, values) for metric in METRICS if (values := defined_values(own, metric))
        }
        for run, own in by_run(rows).items()
    }


def outcome(changes: Sequence[Change]) -> Literal["no change", "changed", "regressed"]:
    """Sum up changes; a missing run counts as regressed, since nothing shows that it did not."""
    verdicts = {change.verdict for change in changes}
    if verdicts & {"regressed", "missing"}:
        return "regressed"
    return "changed" if verdicts - {"no change"} else "no change"


def _change(
    run: Run,
    metric: str,
    rows: Sequence[RerunRow],
    earlier: Sequence[RerunRow],
    thresholds: Thresholds,
) -> Change | None:
    """Compare one metric of one run; None if neither side defines it."""
    values, old = defined_values(rows, metric), defined_values(earlier, metric)
    if not values and not old:
        return None
    now, before = (_centre(metric, side) if side else None for side in (values, old))
    noise = None
    if before is None:
        verdict: Verdict = "new"
    elif now is None:
        verdict = "missing"
    else:
        rounding = metric != SPEED and _score_one_checkpoint(rows, earlier)
        noise = ROUNDING if rounding else _noise(metric, values, old, thresholds)
        verdict = _verdict(_difference(metric, now, before), noise, thresholds.largest_loss(metric))
    about = dict(zip(("protocol", "split", "method", "setting"), run, strict=True))
    return Change(**about, metric=metric, before=before, now=now, noise=noise, verdict=verdict)


def _score_one_checkpoint(rows: Sequence[RerunRow], earlier: Sequence[RerunRow]) -> bool:
    """Say whether each side is one row and both are of the same weights, so that no seed plays a part."""
    checkpoints = {row.checkpoint for row in (*rows, *earlier)}
    return len(rows) == len(earlier) == len(checkpoints) == 1 and None not in checkpoints


def _centre(metric: str, values: Sequence[float]) -> float:
    return statistics.median(values) if metric == SPEED else statistics.fmean(values)


def _difference(metric: str, now: float, before: float) -> float:
    return now / before - 1 if metric == SPEED else points(now, before)


def _noise(metric: str, values: Sequence[float], old: Sequence[float], thresholds: Thresholds) -> float:
    """Return the largest difference that counts as chance.

    A side with one seed has no spread and borrows the other's; with one seed on both sides the allowed loss decides.
    """
    from scipy.special import stdtrit  # slow to import

    known = [side for side in (values, old) if len(side) > 1]
    if metric == SPEED or not known:
        return thresholds.largest_loss(metric)
    largest = max(statistics.variance(side) for side in known)
    of_means = [
        (statistics.variance(side) if len(side) > 1 else largest) / len(side) for side in (values, old)
    ]
    if not any(of_means):
        return 0.0
    # Welch and Satterthwaite: few seeds know their own spread badly, so the interval is wider than two standard errors.
    terms = (
        part**2 / (len(side) - 1) for part, side in zip(of_means, (values, old), strict=True) if len(side) > 1
    )
    freedom = sum(of_means) ** 2 / sum(terms) if len(known) == 2 else len(known[0]) - 1
    return 100 * float(stdtrit(freedom, (1 + thresholds.confidence) / 2)) * math.sqrt(sum(of_means))


def _verdict(difference: float, noise: float, largest_loss: float) -> Verdict:
    if abs(difference) <= noise:
        return "no change"
    if difference > 0:
        return "better"
    return "regressed" if -difference > largest_loss else "worse"
