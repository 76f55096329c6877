"""Windows and the averaging of their scores."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cascade_core.evaluate.sliding import slide, window_origins

LENGTHS = st.tuples(st.integers(1, 200), st.integers(1, 60), st.integers(1, 60)).filter(
    lambda s: s[2] <= s[1]
)


@settings(deadline=None)
@given(LENGTHS)
def test_windows_cover_every_position_and_stay_inside(sizes: tuple[int, int, int]) -> None:
    length, crop, stride = sizes
    origins = window_origins(length, crop, stride)
    covered = {position for origin in origins for position in range(origin, min(origin + crop, length))}
    assert covered == set(range(length))
    assert all(0 <= origin <= max(length - crop, 0) for origin in origins)
    assert len(origins) == math.ceil(max(length - crop, 0) / stride) + 1


@pytest.mark.parametrize(
    ("length", "origins"),
    [(512, [0]), (300, [0]), (513, [0, 1]), (938, [0, 426]), (939, [0, 426, 427]), (683, [0, 171])],
)
def test_the_published_windows_start_where_they_should(length: int, origins: list[int]) -> None:
    assert window_origins(length, 512, 426) == origins


def position_dependent(images: Tensor) -> Tensor:
    """Scores that depend on where in the window a pixel lies, so that averaging shows."""
    height, width = images.shape[-2:]
    ramp = torch.linspace(0, 1, height)[:, None] + torch.linspace(-1, 1, width)[None]
    mean = images.mean(dim=1, keepdim=True)
    return torch.cat([mean + ramp, mean * ramp, mean - 0.1], dim=1)


@settings(deadline=None, max_examples=30)
@given(height=st.integers(3, 25), width=st.integers(3, 25), crop=st.integers(2, 12), data=st.data())
def test_sliding_equals_a_loop_over_pixels(height: int, width: int, crop: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, crop))
    image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    scores = slide(
        position_dependent,
        image,
        crop=crop,
        stride=stride,
        num_classes=3,
        window_batch=data.draw(st.integers(1, 5)),
    )
    windows = [
        (top, left, position_dependent(image[:, :, top : top + crop, left : left + crop])[0])
        for top in window_origins(height, crop, stride)
        for left in window_origins(width, crop, stride)
    ]
    for y in range(height):
        for x in range(width):
            values = [
                window[:, y - top, x - left]
                for top, left, window in windows
                if top <= y < top + window.shape[1] and left <= x < left + window.shape[2]
            ]
            assert torch.allclose(scores[0, :, y, x], torch.stack(values).mean(dim=0), atol=1e-5)


def test_a_picture_of_the_crops_size_is_one_window() -> None:
    image = torch.randn(1, 3, 8, 8)
    assert torch.equal(
        slide(position_dependent, image, crop=8, stride=6, num_classes=3), position_dependent(image)
    )


def test_windows_go_through_the_model_in_batches() -> None:
    sizes: list[int] = []

    def predict(images: Tensor) -> Tensor:
        sizes.append(len(images))
        return position_dependent(images)

    slide(predict, torch.randn(1, 3, 8, 24), crop=8, stride=4, num_classes=3, window_batch=2)
    assert sizes == [2, 2, 1]


def test_half_precision_scores_are_summed_in_single_precision() -> None:
    image = torch.randn(1, 3, 8, 20)
    scores = slide(
        lambda images: position_dependent(images).bfloat16(), image, crop=8, stride=4, num_classes=3
    )
    assert scores.dtype == torch.float32


def test_impossible_windows_and_scores_are_refused() -> None:
    image = torch.randn(1, 3, 8, 8)
    with pytest.raises(ValueError, match="stride=9: all must be positive and stride at most crop"):
        slide(position_dependent, image, crop=8, stride=9, num_classes=3)
    with pytest.raises(ValueError, match="all must be positive"):
        window_origins(8, 8, 0)
    with pytest.raises(
        ValueError, match=r"scores of shape \(1, 3, 8, 8\) .* and 4 classes; check that text vectors"
    ):
        slide(position_dependent, image, crop=8, stride=8, num_classes=4)
