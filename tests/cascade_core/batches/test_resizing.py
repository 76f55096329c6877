"""Resizing: where samples are taken, and that a window is what the whole has there."""

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from cascade_core.batches.resizing import image_window, label_window, resize_image, resize_label


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_labels_are_resized_to_the_nearest_id_truncated() -> None:
    label = rng().integers(0, 256, (13, 17), dtype=np.uint8)
    resized = resize_label(label, (20, 11))
    expected = [[label[int(y * 13 / 20), int(x * 17 / 11)] for x in range(11)] for y in range(20)]
    assert resized.tolist() == np.array(expected).tolist()


def test_pictures_are_resized_bilinearly_without_antialiasing() -> None:
    image = rng().integers(0, 256, (12, 16, 3), dtype=np.uint8)
    resized = resize_image(image, (5, 9))
    for y in range(5):
        for x in range(9):
            down = np.clip((y + 0.5) * 12 / 5 - 0.5, 0, 11)
            across = np.clip((x + 0.5) * 16 / 9 - 0.5, 0, 15)
            top, left = int(down), int(across)
            bottom, right = min(top + 1, 11), min(left + 1, 15)
            a, b = down - top, across - left
            value = (1 - a) * ((1 - b) * image[top, left] + b * image[top, right]) + a * (
                (1 - b) * image[bottom, left] + b * image[bottom, right]
            )
            assert np.abs(resized[y, x] - value).max() <= 1.0


def test_views_of_a_callers_array_are_resized_like_copies() -> None:
    image = rng().integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image.setflags(write=False)
    for view in (image, image[..., ::-1], image[:, ::-1], image[2:9, 3:11], image.transpose(1, 0, 2)):
        assert np.array_equal(resize_image(view, (5, 9)), resize_image(view.copy(), (5, 9)))


LENGTHS = st.integers(1, 90)


@settings(max_examples=150)
@given(
    source=st.tuples(LENGTHS, LENGTHS),
    size=st.tuples(LENGTHS, LENGTHS),
    crop=st.integers(1, 60),
    data=st.data(),
)
@example(source=(96, 109), size=(88, 140), crop=8, data=None)  # as many columns needed as wanted
@example(source=(20, 76), size=(20, 87), crop=90, data=None)
def test_a_window_equals_that_of_the_whole_picture(
    source: tuple[int, int], size: tuple[int, int], crop: int, data: st.DataObject | None
) -> None:
    image = rng().integers(0, 256, (*source, 3), dtype=np.uint8)
    starts = [0, 0] if data is None else [data.draw(st.integers(0, length - 1)) for length in size]
    rows, columns = (slice(start, start + crop) for start in starts)
    whole = resize_image(image, size)[rows, columns]
    assert np.array_equal(image_window(image, size, (rows, columns)).permute(1, 2, 0), whole)
    label = np.ascontiguousarray(image[..., 0])
    resized = functional.interpolate(torch.from_numpy(label)[None, None], size=size, mode="nearest")[0, 0]
    assert np.array_equal(label_window(label, size, (rows, columns)), resized[rows, columns])
    assert np.array_equal(resize_label(label, size), resized)
