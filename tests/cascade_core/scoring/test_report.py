"""Tables and plots of scores."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from cascade_core.datasets.catalogue import protocol
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_set import LabelSet, train_id_table
from cascade_core.scoring.confusion import ConfusionMatrix
from cascade_core.scoring.report import per_class_table, plot_confusion, plot_per_class
from cascade_core.scoring.scores import scores

SPLIT = ClassSplit("2-1", LabelSet("three", ("cat", "dog", "cow"), train_id_table(3)), ("dog",))


@pytest.fixture
def confusion() -> ConfusionMatrix:
    return ConfusionMatrix.of(torch.tensor([[8, 1, 1], [3, 5, 2], [0, 0, 0]]))


def test_the_table_lists_seen_classes_then_unseen_ones(confusion: ConfusionMatrix) -> None:
    table = per_class_table(scores(confusion, SPLIT), SPLIT, confusion)
    assert table["class"].tolist() == ["cat", "cow", "dog"]
    assert table["group"].tolist() == ["seen", "seen", "unseen"]


def test_a_row_states_scores_pixels_and_the_worst_confusion(confusion: ConfusionMatrix) -> None:
    row = per_class_table(scores(confusion, SPLIT), SPLIT, confusion).set_index("class").loc["dog"]
    assert row["iou"] == pytest.approx(5 / 11)
    assert row["accuracy"] == pytest.approx(0.5)
    assert (row["pixels"], row["predicted"], row["confused_with"]) == (10, 6, "cat")


def test_a_class_without_pixels_is_confused_with_none(confusion: ConfusionMatrix) -> None:
    row = per_class_table(scores(confusion, SPLIT), SPLIT, confusion).set_index("class").loc["cow"]
    assert (row["pixels"], row["confused_with"]) == (0, "")


def test_the_means_of_the_tables_groups_are_the_scores(confusion: ConfusionMatrix) -> None:
    result = scores(confusion, SPLIT)
    means = per_class_table(result, SPLIT, confusion).groupby("group")["iou"].mean()
    assert means["seen"] == pytest.approx(result.miou_seen)
    assert means["unseen"] == pytest.approx(result.miou_unseen)


SPLITS = [SPLIT, SPLIT.supervised(), protocol("cocostuff-156-15")]


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.name)
def test_plots_are_written_for_few_and_for_many_classes(split: ClassSplit, tmp_path: Path) -> None:
    counts = torch.eye(split.num_classes, dtype=torch.int64).flip(0)
    counts[0] = 0  # a class without pixels
    matrix = ConfusionMatrix.of(counts)
    table = per_class_table(scores(matrix, split), split, matrix)
    plot_confusion(matrix, split, tmp_path / "confusion.png", title=split.name)
    plot_per_class(table, tmp_path / "classes.png", title=split.name)
    for picture in tmp_path.iterdir():
        with Image.open(picture) as opened:
            assert opened.width > 300 and opened.format == "PNG"
