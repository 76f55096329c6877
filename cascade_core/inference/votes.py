"""Labels of neighbouring frames vote, so that a video's labels do not flicker."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer


class Frame(NamedTuple):
    """The labels of a frame, and the confidence of each."""

    labels: Integer[np.ndarray, "height width"]
    confidence: Float[np.ndarray, "height width"]


def smoothed(frames: Iterable[Frame], num_frames: int) -> Iterator[Frame]:
    """Yield, for each frame, the label of each pixel with the highest summed confidence over `num_frames` around it.

    At both ends of the video there are fewer frames. The frame's own label wins a tie. Confidence is the mean confidence of
    the frames that voted for the label. Holds `num_frames` frames in memory; 1 changes nothing.
    """
    reach = num_frames // 2
    # With None for the frames before the first one and after the last.
    window = deque[Frame | None]([None] * num_frames, maxlen=num_frames)
    for frame in chain(frames, repeat(None, reach)):
        window.append(frame)
        if (middle := window[reach]) is not None:
            yield _vote(middle, [other for other in window if other is not None and other is not middle])


def _vote(own: Frame, others: Sequence[Frame]) -> Frame:
    if not others:
        return own
    best = np.full(own.labels.shape, -1.0, dtype=np.float32)
    labels, confidence = own.labels.copy(), own.confidence.copy()
    voters = [own, *others]
    for candidate, _ in voters:
        agrees = [frame.labels == candidate for frame in voters]
        total = sum(np.where(agree, frame.confidence, 0) for agree, frame in zip(agrees, voters, strict=True))
        votes = sum(agree.astype(np.float32) for agree in agrees)
        better = total > best
        best = np.where(better, total, best)
        labels[better] = candidate[better]
        confidence[better] = (total / votes)[better]
    return Frame(labels, confidence)
