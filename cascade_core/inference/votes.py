"""Labels of neighbouring frames vote, so that a video's labels do not flicker."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
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
    reach, window, before = num_frames // 2, deque[Frame](), 0
    for frame in frames:
        window.append(frame)
        if len(window) > reach + before:
            yield _vote(window, before)
            if before == reach:
                window.popleft()
            else:
                before += 1
    # The last frames have none after them, of a short video the first ones too.
    while before < len(window):
        yield _vote(window, before)
        if before == reach:
            window.popleft()
        else:
            before += 1


def _vote(window: Sequence[Frame], own: int) -> Frame:
    if len(window) == 1:
        return window[own]
    best = np.full(window[own].labels.shape, -1.0, dtype=np.float32)
    labels, confidence = window[own].labels.copy(), window[own].confidence.copy()
    order = [own, *(place for place in range(len(window)) if place != own)]
    for place in order:
        candidate = window[place].labels
        agrees = [frame.labels == candidate for frame in window]
        total = sum(np.where(agree, frame.confidence, 0) for agree, frame in zip(agrees, window, strict=True))
        votes = sum(agree.astype(np.float32) for agree in agrees)
        better = total > best
        best = np.where(better, total, best)
        labels[better] = candidate[better]
        confidence[better] = (total / votes)[better]
    return Frame(labels, confidence)
