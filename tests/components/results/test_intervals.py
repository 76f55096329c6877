"""Intervals over seeds and over pictures."""

import math

import numpy as np
import pytest
from scipy import stats

from cascade_core.errors import UserError
from components.results.intervals import Interval, paired_interval, picture_interval, together
from components.results.picture_counts import CountsOfPictures


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


def counts(shares: np.ndarray, *, unseen: tuple[int, ...] = ()) -> CountsOfPictures:
    """Return counts of pictures with 100 pixels of one of two classes, of which a share is predicted correctly."""
    own = np.zeros((len(shares), 3, 2), dtype=np.int64)
    correct = (100 * shares).astype(np.int64)
    own[:, 0, 0], own[:, 1, 0], own[:, 1, 1], own[:, 2, 0] = correct, correct, 100 - correct, 100
    return CountsOfPictures(tuple(f"p{i}" for i in range(len(shares))), ("a", "b"), unseen, own)


def test_the_interval_over_pictures_is_of_the_paired_differences() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(200)  # pictures differ far more than the two runs on one picture
    better, worse = {0: counts(0.2 + 0.7 * hard), 1: counts(0.3 + 0.6 * hard)}, {1: counts(0.2 + 0.7 * hard)}
    interval = picture_interval(better, worse, "pAcc")
    difference = (better[1].counts - worse[1].counts)[:, 0, 0] / 100
    assert interval is not None and interval.num_seeds == 1
    assert interval.difference == pytest.approx(difference.mean())
    reach = 1.96 * difference.std() / np.sqrt(200)
    ends = interval.difference - interval.low, interval.high - interval.difference
    assert ends == pytest.approx((reach, reach), rel=0.15)
    assert picture_interval({0: better[0]}, worse, "pAcc") is None
    assert picture_interval(better, worse, "hiou") is None


def test_counts_of_other_pictures_are_not_compared() -> None:
    shares = np.linspace(0, 1, 5)
    for other in (counts(shares[:4]), counts(shares, unseen=(1,))):
        with pytest.raises(UserError, match="evaluate all on the same split"):
            picture_interval({0: counts(shares)}, {0: other}, "pAcc")


def test_both_choices_together_reach_further_than_either() -> None:
    seeds, pictures = Interval(0.05, 0.01, 0.09, 3), Interval(0.05, 0.02, 0.06, 3)
    both = together(seeds, pictures)
    assert (both.difference, both.low, both.high) == pytest.approx((0.05, 0.0, 0.05 + math.hypot(0.04, 0.01)))
    assert both.word == "cannot be told" and seeds.word == pictures.word == "holds"
    one = together(Interval(0.05, -math.inf, math.inf, 1), pictures)
    assert (one.low, one.high) == (-math.inf, math.inf)
