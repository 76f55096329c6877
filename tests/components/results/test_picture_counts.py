"""The file of pixel counts: its sums are the confusion matrix, and it holds what a reader needs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cascade_core.datasets.catalogue import protocol
from cascade_core.errors import UserError
from cascade_core.scoring.confusion import ConfusionMatrix
from cascade_core.scoring.pictures import picture_counts
from components.results.names import PICTURE_COUNTS_FILE
from components.results.picture_counts import read_counts, write_counts

SPLIT = protocol("mini-18-6")


def maps(number: int, classes: int = SPLIT.num_classes) -> tuple[np.ndarray, np.ndarray]:
    """Draw truth and prediction of a few classes; a fifth of the truth is void."""
    rng = np.random.default_rng(number)
    ids = rng.choice(classes, 4, replace=False)
    truth, predicted = ids[rng.integers(0, 4, (2, 9, 7))]
    return np.where(rng.random(truth.shape) < 0.2, 255, truth), predicted


def test_the_sums_over_pictures_are_the_confusion_matrix(tmp_path: Path) -> None:
    confusion, pictures = ConfusionMatrix(SPLIT.num_classes), {}
    for number in range(12):
        truth, predicted = maps(number)
        confusion.update(torch.from_numpy(predicted), torch.from_numpy(truth))
        pictures[f"folder/p{number}"] = picture_counts(truth, predicted)
    pictures["void"] = picture_counts(np.full((3, 3), 255), np.zeros((3, 3), int))
    write_counts(tmp_path, pictures, SPLIT)
    counts = read_counts(tmp_path)
    assert counts is not None and counts.names == tuple(pictures)[:-1]  # nothing is labelled in the last
    assert (counts.classes, counts.unseen, counts.seen) == (SPLIT.classes, SPLIT.unseen, SPLIT.seen)
    matrix = confusion.counts.numpy()
    wanted = [matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)]
    np.testing.assert_array_equal(counts.counts.sum(axis=0), wanted)
    first = (tmp_path / PICTURE_COUNTS_FILE).read_bytes()
    write_counts(tmp_path, pictures, SPLIT)
    assert (tmp_path / PICTURE_COUNTS_FILE).read_bytes() == first


def test_no_file_is_an_older_one_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    assert read_counts(tmp_path) is None
    write_counts(tmp_path, {}, replace(SPLIT, unseen_names=()))
    counts = read_counts(tmp_path)
    assert counts is not None and counts.names == () and counts.unseen == ()
    file = tmp_path / PICTURE_COUNTS_FILE
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"picture_counts.parquet: .*; run the evaluate step again"):
        read_counts(tmp_path)
