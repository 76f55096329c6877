"""Scores against a slow definition and a foreign implementation, and their laws."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_jaccard_index

from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_set import LabelSet, train_id_table
from cascade_core.scoring.confusion import ConfusionMatrix
from cascade_core.scoring.scores import harmonic_mean, scores

NAMES = tuple("abcde")
SPLIT = ClassSplit("3-2", LabelSet("five", NAMES, train_id_table(5)), ("b", "e"))
COUNTS = st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=5, max_size=5)


def of_counts(counts: list[list[int]]) -> ConfusionMatrix:
    return ConfusionMatrix.of(torch.tensor(counts))


def mean(values: list[float]) -> float:
    """Average the values that are not NaN; NaN if none is left."""
    present = [value for value in values if not math.isnan(value)]
    return sum(present) / len(present) if present else math.nan


@settings(deadline=None, max_examples=40)
@given(COUNTS)
def test_scores_equal_their_definition_in_loops(counts: list[list[int]]) -> None:
    iou, accuracy = [], []
    for i in range(5):
        true, predicted = sum(counts[i]), sum(row[i] for row in counts)
        union = true + predicted - counts[i][i]
        iou.append(counts[i][i] / union if union else math.nan)
        accuracy.append(counts[i][i] / true if true else math.nan)
    total = sum(map(sum, counts))
    result = scores(of_counts(counts), SPLIT)
    expected = {
        "pAcc": sum(counts[i][i] for i in range(5)) / total if total else math.nan,
        "miou": mean(iou),
        "miou_seen": mean([iou[0], iou[2], iou[3]]),
        "miou_unseen": mean([iou[1], iou[4]]),
        "macc": mean(accuracy),
        "macc_seen": mean([accuracy[0], accuracy[2], accuracy[3]]),
        "macc_unseen": mean([accuracy[1], accuracy[4]]),
    }
    summary = result.summary()
    assert {name: summary[name] for name in expected} == pytest.approx(expected, nan_ok=True)
    assert result.iou == pytest.approx(iou, nan_ok=True)
    assert result.accuracy == pytest.approx(accuracy, nan_ok=True)


def test_iou_agrees_with_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(5, (60, 60), generator=generator)
    predicted = torch.where(torch.rand(60, 60, generator=generator) < 0.6, truth, truth.roll(1))
    confusion = ConfusionMatrix(5)
    confusion.update(predicted, truth)
    foreign = multiclass_jaccard_index(predicted, truth, num_classes=5, average="none")
    assert scores(confusion, SPLIT).iou == pytest.approx(foreign.tolist(), abs=1e-6)


def test_iou_is_taken_over_the_dataset_not_averaged_over_images() -> None:
    confusion = ConfusionMatrix(5)
    confusion.update(torch.zeros(10, dtype=torch.long), torch.zeros(10, dtype=torch.long))  # IoU 1
    confusion.update(torch.full((30,), 2), torch.zeros(30, dtype=torch.long))  # IoU 0
    assert scores(confusion, SPLIT).iou[0] == pytest.approx(0.25)


def test_a_predicted_absent_class_has_iou_0_and_another_nan() -> None:
    confusion = ConfusionMatrix(5)
    confusion.update(torch.tensor([0, 0, 1]), torch.tensor([0, 0, 0]))
    result = scores(confusion, SPLIT)
    assert result.iou[1] == 0 and math.isnan(result.accuracy[1])
    assert math.isnan(result.iou[2])
    assert result.miou == pytest.approx((2 / 3 + 0) / 2)


@settings(deadline=None, max_examples=40)
@given(COUNTS, st.permutations(range(5)))
def test_scores_do_not_depend_on_the_order_of_classes(counts: list[list[int]], order: list[int]) -> None:
    shuffled = [[counts[i][j] for j in order] for i in order]
    split = ClassSplit("3-2", LabelSet("five", tuple(NAMES[i] for i in order), train_id_table(5)), ("b", "e"))
    first, second = scores(of_counts(counts), SPLIT), scores(of_counts(shuffled), split)
    assert second.summary() == pytest.approx(first.summary(), nan_ok=True)


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_harmonic_mean_lies_between_and_below_the_average(first: float, second: float) -> None:
    value = harmonic_mean(first, second)
    assert value == harmonic_mean(second, first)
    assert min(first, second) - 1e-12 <= value <= (first + second) / 2 + 1e-12


def test_the_harmonic_mean_is_0_for_zeros_and_nan_without_unseen() -> None:
    assert harmonic_mean(0.0, 0.0) == 0.0
    assert harmonic_mean(0.5, 0.0) == 0.0
    assert harmonic_mean(0.25, 0.75) == pytest.approx(0.375)
    result = scores(of_counts([[1] * 5] * 5), SPLIT.supervised())
    assert math.isnan(result.miou_unseen) and math.isnan(result.hiou)


def test_scores_carry_the_name_of_their_protocol() -> None:
    assert scores(of_counts([[1] * 5] * 5), SPLIT).protocol == "3-2"


def test_no_pixels_score_nan() -> None:
    assert all(math.isnan(value) for value in scores(ConfusionMatrix(5), SPLIT).summary().values())


def test_counts_of_another_label_set_are_refused() -> None:
    with pytest.raises(ValueError, match="counts of 4 classes do not fit split '3-2' of 5"):
        scores(ConfusionMatrix(4), SPLIT)
