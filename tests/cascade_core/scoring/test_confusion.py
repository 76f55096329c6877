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
def test_merging_is_counting_both(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    merged = counted(first)
    merged.merge([counted(second)])
    assert torch.equal(merged.counts, counted(first + second).counts)
    assert torch.equal(merged.counts, counted(second, first).counts)


def test_what_is_predicted_on_ignored_pixels_does_not_matter() -> None:
    confusion = ConfusionMatrix(2)
    confusion.update(torch.tensor([[0, 77]]), torch.tensor([[0, 255]]))
    assert confusion.counts.tolist() == [[1, 0], [0, 0]]


def test_counts_are_exact_beyond_the_reach_of_float32() -> None:
    confusion = ConfusionMatrix.of(torch.tensor([[2**24]]))
    confusion.update(torch.zeros(1, dtype=torch.uint8), torch.zeros(1, dtype=torch.uint8))
    assert int(confusion.counts) == 2**24 + 1


def test_maps_and_matrices_that_do_not_fit_are_refused_and_count_nothing() -> None:
    confusion = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=r"prediction of shape \(2,\) and truth of shape \(3,\)"):
        confusion.update(torch.zeros(2, dtype=torch.long), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="cannot merge counts of 2 classes into 3"):
        confusion.merge([ConfusionMatrix(3), ConfusionMatrix(2)])
    assert int(confusion.counts.sum()) == 0


def test_no_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="num_classes=0"):
        ConfusionMatrix(0)


@pytest.mark.parametrize(
    ("predicted", "truth", "told"),
    [
        ([0, 0, 0], [3, 0, 9], r"true ids from 0 to 9 were counted, and some lie outside 0..2; check that"),
        ([0, -2], [0, 1], r"predicted ids from -2 to 1 were counted, and some lie outside 0..2"),
        (
            [0, -1],
            [0, 1],
            "no class was predicted for some pixels, since the model's scores were not numbers",
        ),
        ([2, 3], [2, 2], r"predicted ids from 0 to 3 were counted"),
    ],
)
def test_ids_that_do_not_fit_are_found_when_the_counts_are_read(
    predicted: list[int], truth: list[int], told: str
) -> None:
    confusion = ConfusionMatrix(3)
    confusion.update(torch.tensor(predicted), torch.tensor(truth))
    confusion.update(torch.tensor([1]), torch.tensor([1]))
    with pytest.raises(ValueError, match=told):
        _ = confusion.counts
    with pytest.raises(ValueError, match=told):
        ConfusionMatrix(3).merge([confusion])


def test_an_empty_map_counts_nothing() -> None:
    confusion = ConfusionMatrix(2)
    confusion.update(torch.zeros(0, 4, dtype=torch.uint8), torch.zeros(0, 4, dtype=torch.uint8))
    assert not confusion.counts.any()


def test_what_is_done_to_counts_that_were_read_changes_no_count() -> None:
    confusion = ConfusionMatrix.of(torch.eye(2, dtype=torch.int64))
    confusion.counts.zero_()
    assert confusion.counts.tolist() == [[1, 0], [0, 1]]
