"""Votes of neighbouring frames."""

import numpy as np

from cascade_core.inference.votes import Frame, smoothed


def frames(labels: list[int], confidence: list[float]) -> list[Frame]:
    return [
        Frame(np.full((1, 2), label, dtype=np.uint8), np.full((1, 2), sure, dtype=np.float32))
        for label, sure in zip(labels, confidence, strict=True)
    ]


def voted(labels: list[int], confidence: list[float], num_frames: int) -> list[int]:
    return [int(frame.labels[0, 0]) for frame in smoothed(frames(labels, confidence), num_frames)]


def test_a_single_flicker_goes_and_a_change_stays() -> None:
    assert voted([0, 0, 1, 0, 0, 2, 2, 2], [0.5] * 8, 3) == [0, 0, 0, 0, 0, 2, 2, 2]


def test_a_confident_frame_outvotes_two_weak_ones() -> None:
    assert voted([0, 1, 0], [0.2, 0.9, 0.2], 3) == [1, 1, 1]


def test_confidence_is_the_mean_of_those_that_voted_for_it() -> None:
    *_, middle, _ = smoothed(frames([0, 1, 0], [0.5, 0.4, 0.7]), 3)
    assert middle.labels[0, 0] == 0
    np.testing.assert_allclose(middle.confidence, 0.6)


def test_every_frame_comes_out_once_whatever_the_lengths() -> None:
    for length in range(6):
        for num_frames in (1, 3, 5, 9):
            labels = list(range(length))
            out = voted(labels, [0.5] * length, num_frames)
            assert len(out) == length
            assert num_frames > 1 or out == labels
