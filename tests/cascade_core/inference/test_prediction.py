"""Areas and confidence of the classes in a label map."""

import numpy as np
import pytest

from cascade_core.inference.prediction import ClassArea, Prediction, as_label_map

PREDICTION = Prediction(
    np.array([[2, 2, 0], [2, 0, 2]], dtype=np.uint8),
    ("cat", "dog", "cow"),
    np.array([[0.5, 0.5, 0.2], [0.9, 0.4, 0.1]], dtype=np.float32),
)


def test_areas_come_largest_first_with_their_mean_confidence() -> None:
    assert [(area.id, area.label, area.pixels) for area in PREDICTION.areas] == [(2, "cow", 4), (0, "cat", 2)]
    assert [area.confidence for area in PREDICTION.areas] == pytest.approx([0.5, 0.3])
    assert [area.share for area in PREDICTION.areas] == pytest.approx([4 / 6, 2 / 6])
    assert PREDICTION.mean_confidence == pytest.approx(2.6 / 6)
    assert isinstance(PREDICTION.areas[0], ClassArea)


def test_more_than_255_labels_take_16_bits() -> None:
    assert as_label_map(np.array([[254]]), 255).dtype == np.uint8
    assert as_label_map(np.array([[255]]), 256).dtype == np.uint16
