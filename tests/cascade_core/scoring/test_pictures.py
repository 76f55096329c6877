"""Scores of single pictures, and the mistake that costs most."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_core.scoring.pictures import Mistake, largest_mistake, picture_scores


def test_a_picture_is_scored_over_pixels_with_labels() -> None:
    truth = np.array([[0, 0, 1, 1], [255, 255, 1, 1]])
    predicted = np.array([[0, 2, 1, 1], [5, 1, 1, 0]])
    # Class 0: 1 hit of 2 true and 2 predicted; class 1: 3 hits of 4 true and 3 predicted, the ignored pixel left out.
    scores = picture_scores(truth, predicted, unseen=(1, 2))
    wanted = {"pixels": 4 / 6, "miou": (1 / 3 + 3 / 4) / 2, "miou_unseen": 3 / 4}
    assert vars(scores) == pytest.approx(wanted)
    assert picture_scores(truth, predicted, unseen=()).miou_unseen is None
    assert picture_scores(np.full((2, 2), 255), np.zeros((2, 2), dtype=int), ()).miou is None
    with pytest.raises(ValueError, match="differ in size"):
        picture_scores(truth, predicted[:1], ())


def test_the_largest_mistake_counts_labelled_pixels_only() -> None:
    truth = np.array([[0, 0, 1, 1], [255, 255, 1, 1]])
    predicted = np.array([[0, 2, 3, 3], [5, 5, 1, 0]])
    assert largest_mistake(truth, predicted) == Mistake(1, 3, 2 / 6, 2 / 4)
    assert largest_mistake(truth, np.where(truth == 255, 7, truth)) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_no_pair_has_more_wrong_pixels_than_the_largest(pixels: list[tuple[int, int]]) -> None:
    truth, predicted = (np.array([ids]) for ids in zip(*pixels, strict=True))
    wrong = {pair: pixels.count(pair) for pair in pixels if pair[0] != pair[1]}
    mistake = largest_mistake(truth, predicted)
    if mistake is None:
        assert not wrong
    else:
        assert wrong[mistake.truth, mistake.predicted] == max(wrong.values())
        assert mistake.share == pytest.approx(max(wrong.values()) / len(pixels))
