"""Intervals over seeds."""

import math

import numpy as np
import pytest
from scipy import stats

from components.results.intervals import paired_interval


def test_the_interval_is_that_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    better, worse = rng.normal(0.7, 0.05, 6), rng.normal(0.65, 0.05, 6)
    interval = paired_interval(dict(enumerate(better)), dict(enumerate(worse)))
    expected = stats.ttest_rel(better, worse).confidence_interval(0.95)
    assert interval is not None and interval.num_seeds == 6
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    ("better", "word"),
    [
        ((0.70, 0.71, 0.72), "holds"),
        ((0.50, 0.51, 0.52), "does not hold"),
        ((0.55, 0.66, 0.62), "cannot be told"),
    ],
)
def test_three_words_say_what_the_interval_allows(better: tuple[float, ...], word: str) -> None:
    interval = paired_interval(dict(enumerate(better)), {0: 0.60, 1: 0.61, 2: 0.60})
    assert interval is not None and interval.word == word


def test_only_seeds_of_both_runs_are_paired() -> None:
    one = paired_interval({0: 0.5, 1: 0.9}, {1: 0.4, 2: 0.1})
    assert one is not None and one.difference == pytest.approx(0.5)
    assert (one.low, one.word) == (-math.inf, "cannot be told")
    assert paired_interval({0: 0.5}, {1: 0.5}) is None
