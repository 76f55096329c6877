"""Pixel counts against a slow definition, and their laws."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_core.scoring.confusion import ConfusionMatrix

CLASSES = 4
PIXELS = st.lists(
    st.tuples(st.integers(0, CLASSES - 1), st.one_of(st.integers(0, CLASSES - 1), st.just(255))), max_size=40
)


def counted(*parts: list[tuple[int, int]]) -> ConfusionMatrix:
    confusion = ConfusionMatrix(CLASSES)
    for pixels in parts:
        pairs = torch.tensor(pixels, dtype=torch.int64).reshape(-1, 2)
        confusion.update(pairs[:, 0], pairs[:, 1])
    return confusion


@settings(deadline=None, max_examples=30)
@given(PIXELS)
def test_counts_equal_a_loop_over_pixels(pixels: list[tuple[int, int]]) -> None:
    expected = [[0] * CLASSES for _ in range(CLASSES)]
    for predicted, truth in pixels:
        if truth != 255:
            expected[truth][predicted] += 1
    assert counted(pixels).counts.tolist() == expected


@settings(deadline=None, max_examples=30)
@given(PIXELS, PIXELS)
def test_updates_add_up(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    assert torch.equal(counted(first, second).counts, counted(first + second).counts)


def test_predictions_on_ignored_pixels_do_not_count() -> None:
    confusion = ConfusionMatrix(2)
    confusion.update(torch.tensor([[0, 77]]), torch.tensor([[0, 255]]))
    assert confusion.counts.tolist() == [[1, 0], [0, 0]]


def test_counts_are_exact_beyond_the_reach_of_float32() -> None:
    confusion = ConfusionMatrix.of(torch.tensor([[2**24]]))
    confusion.update(torch.zeros(1, dtype=torch.uint8), torch.zeros(1, dtype=torch.uint8))
    assert int(confusion.counts) == 2**24 + 1


def test_maps_of_different_shapes_are_refused_and_not_counted() -> None:
    confusion = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=r"prediction of shape \(2,\) and truth of shape \(3,\)"):
        confusion.update(torch.zeros(2, dtype=torch.long), torch.zeros(3, dtype=torch.long))
    assert int(confusion.counts.sum()) == 0


def test_no_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="num_classes=0"):
        ConfusionMatrix(0)


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        ([0, 0, 0], [3, 0, 9], r"true ids from 0 to 9 were counted, and some lie outside 0..2; check that"),
        ([0, -2], [0, 1], r"predicted ids from -2 to 1 were counted, and some lie outside 0..2"),
        (
            [0, -1],
            [0, 1],
            "no class was predicted for some pixels, because the model's scores were not numbers",
        ),
        ([2, 3], [2, 2], r"predicted ids from 0 to 3 were counted"),
    ],
)
def test_reading_the_counts_refuses_invalid_ids(predicted: list[int], truth: list[int], message: str) -> None:
    confusion = ConfusionMatrix(3)
    confusion.update(torch.tensor(predicted), torch.tensor(truth))
    confusion.update(torch.tensor([1]), torch.tensor([1]))
    with pytest.raises(ValueError, match=message):
        _ = confusion.counts


def test_an_empty_map_counts_nothing() -> None:
    confusion = ConfusionMatrix(2)
    confusion.update(torch.zeros(0, 4, dtype=torch.uint8), torch.zeros(0, 4, dtype=torch.uint8))
    assert not confusion.counts.any()


def test_changing_counts_that_were_read_changes_no_count() -> None:
    confusion = ConfusionMatrix.of(torch.eye(2, dtype=torch.int64))
    confusion.counts.zero_()
    assert confusion.counts.tolist() == [[1, 0], [0, 1]]
