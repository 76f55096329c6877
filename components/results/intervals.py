"""Whether a difference of scores holds: its confidence interval over seeds, and three words for it."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

CONFIDENCE = 0.95

Word = Literal["holds", "does not hold", "cannot be told"]


@dataclass(frozen=True)
class Interval:
    """A mean difference, as a fraction, with the ends of its interval; both are infinite for fewer than two pairs."""

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


def paired_interval(better: Mapping[int, float], worse: Mapping[int, float]) -> Interval | None:
    """Return the interval of the mean difference of two runs, paired by the seeds that both have (Student's t).

    Pairs share what a seed decides, such as the order of the pictures. None: no seed is in both.
    """
    differences = [better[seed] - worse[seed] for seed in sorted(better.keys() & worse.keys())]
    if not differences:
        return None
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return Interval(mean, -math.inf, math.inf, len(differences))
    from scipy.special import stdtrit  # slow to import

    error = statistics.stdev(differences) / math.sqrt(len(differences))
    reach = float(stdtrit(len(differences) - 1, (1 + CONFIDENCE) / 2)) * error
    return Interval(mean, mean - reach, mean + reach, len(differences))
