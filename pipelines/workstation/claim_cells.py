"""The cells of a claim in a table: two means, their difference, its intervals, and what they say."""

from collections.abc import Mapping
from statistics import fmean

from components.results.intervals import Interval, together
from components.results.rows import SCORES


def claim_cells(
    score: str,
    better: Mapping[int, float],
    worse: Mapping[int, float],
    *,
    seeds: Interval | None,
    pictures: Interval | None,
) -> list[str]:
    """Return the means of a score over the seeds of both runs, their difference, the intervals over seeds, pictures and both, and the word.

    `better` and `worse` hold the score by seed. Without one of the two intervals a claim cannot be told.
    """
    if seeds is None:
        return [f"{SCORES[score]} undefined", *["-"] * 4, "cannot be told"]
    shared = better.keys() & worse.keys()
    means = (f"{100 * fmean(side[seed] for seed in shared):.1f}" for side in (better, worse))
    both = None if pictures is None else together(seeds, pictures)
    return [
        f"{SCORES[score]} {' against '.join(means)}",
        f"{100 * seeds.difference:+.1f}",
        f"{_ends(seeds)} ({seeds.num_seeds})",
        _ends(pictures),
        _ends(both),
        "cannot be told" if both is None else both.word,
    ]


def _ends(interval: Interval | None) -> str:
    return "-" if interval is None else interval.ends
