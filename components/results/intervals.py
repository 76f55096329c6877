"""Whether a difference of scores holds: its confidence intervals over seeds and over pictures, and three words for it."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cascade_core.errors import UserError

if TYPE_CHECKING:
    from components.results.picture_counts import CountsOfPictures

CONFIDENCE = 0.95

Word = Literal["holds", "does not hold", "cannot be told"]


@dataclass(frozen=True)
class Interval:
    """A mean difference over `num_seeds` pairs, as a fraction, with the ends of its interval, which may be infinite."""

    difference: float
    low: float
    high: float
    num_seeds: int

    @property
    def word(self) -> Word:
        """What the interval says of the claim that the difference is above zero."""
        if self.low > 0:
            return "holds"
        return "does not hold" if self.high < 0 else "cannot be told"

    @property
    def ends(self) -> str:
        """Both ends in points, for tables; a dash if they are infinite."""
        if self.is_infinite:
            return "-"
        return f"{100 * self.low:+.1f} to {100 * self.high:+.1f}"

    @property
    def is_infinite(self) -> bool:
        """Whether it says nothing, as with one seed."""
        return math.isinf(self.low) or math.isinf(self.high)


def paired_interval(better: Mapping[int, float], worse: Mapping[int, float]) -> Interval | None:
    """Return the interval of the mean difference of two runs, paired by the seeds that both have (Student's t).

    It covers the choice of seeds: a new training of both runs, scored on the same pictures. Pairs share what a seed decides, such as
    the order of the pictures. The ends are infinite for fewer than two pairs. None: no seed is in both.
    """
    return mean_interval([better[seed] - worse[seed] for seed in sorted(better.keys() & worse.keys())])


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Return the interval of the mean of values (Student's t), infinite for fewer than two; None without any."""
    if not values:
        return None
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf, len(values))
    from scipy.special import stdtrit  # slow to import

    error = statistics.stdev(values) / math.sqrt(len(values))
    reach = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * error
    return Interval(mean, mean - reach, mean + reach, len(values))


def picture_interval(
    better: Mapping[int, "CountsOfPictures"], worse: Mapping[int, "CountsOfPictures"], score: str
) -> Interval | None:
    """Return the interval over pictures of the mean difference of two runs, over the seeds that both have (bootstrap percentiles).

    It covers the choice of pictures: the same trainings, scored on other pictures of the same kind. Each resample draws as many pictures as
    there are, with replacement, and scores all trainings of both runs on them. None: no seed is in both, or the score is undefined.

    Raises:
        UserError: the runs were scored on different pictures, labels or classes.
    """
    import numpy as np

    from cascade_core.scoring.bootstrap import resampled_scores, total_scores

    seeds = sorted(better.keys() & worse.keys())
    if not seeds:
        return None
    sides = [run[seed] for run in (better, worse) for seed in seeds]
    first = sides[0]
    if not all(first.comparable(other) for other in sides):
        raise UserError(
            "the pixel counts are of different pictures or classes; evaluate all on the same split"
        )
    seen, unseen = first.seen, first.unseen
    models = resampled_scores([side.counts for side in sides], seen=seen, unseen=unseen)
    resampled = [scores[score] for scores in models]
    differences = np.mean(resampled[: len(seeds)], axis=0) - np.mean(resampled[len(seeds) :], axis=0)
    actual = [total_scores(side.counts, seen=seen, unseen=unseen)[score] for side in sides]
    difference = statistics.fmean(actual[: len(seeds)]) - statistics.fmean(actual[len(seeds) :])
    if math.isnan(difference):
        return None
    low, high = np.nanquantile(differences, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Interval(difference, float(low), float(high), len(seeds))


def together(seeds: Interval, pictures: Interval) -> Interval:
    """Return the interval that covers the choice of seeds and that of pictures: reaches to each side add in squares.

    Seeds and pictures are chosen independently, so the variances of the difference add. It is wider than either.
    """
    middle = seeds.difference
    low, high = (
        math.hypot(middle - seeds.low, pictures.difference - pictures.low),
        math.hypot(seeds.high - middle, pictures.high - pictures.difference),
    )
    return Interval(middle, middle - low, middle + high, seeds.num_seeds)
