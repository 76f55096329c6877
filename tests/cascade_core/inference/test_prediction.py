"""Areas and confidence of the classes in a label map."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cascade_core.errors import UserError
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


def test_the_representation_says_size_areas_and_confidence() -> None:
    assert repr(PREDICTION) == (
        "<Prediction 3 x 2 pixels: cow 66.7 %, cat 33.3 %; 2 of 3 labels, mean confidence 0.43>"
    )
    many = Prediction(np.arange(6, dtype=np.uint8).reshape(2, 3), tuple("abcdef"), PREDICTION.confidence)
    assert "d 16.7 % and 2 more; 6 of 6 labels" in repr(many)


def test_a_notebook_shows_the_overlay() -> None:
    picture = np.full((2, 3, 3), 100, dtype=np.uint8)
    drawing = replace(PREDICTION, picture=picture, colours=("", "", "#ff0000"))
    content = drawing._repr_png_()
    assert content is not None
    with Image.open(io.BytesIO(content)) as image:
        assert np.array_equal(np.asarray(image), np.asarray(drawing.overlay()))
    first = np.asarray(drawing.overlay())[1, 1]
    assert first[0] > first[1] == first[2]  # the cow's own colour, red


def test_without_its_picture_a_prediction_has_no_overlay() -> None:
    assert PREDICTION._repr_png_() is None
    with pytest.raises(UserError, match="no picture to draw on"):
        PREDICTION.overlay()


def test_the_label_map_becomes_a_palette_picture() -> None:
    assert np.array_equal(np.asarray(PREDICTION.label_png()), PREDICTION.label_map)
