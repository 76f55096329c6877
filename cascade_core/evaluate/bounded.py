"""The best class of every pixel, for any number of classes and any size of picture, in bounded memory.

What is computed is what `inference.py`, `sliding.py` and `prediction.py` define, averaged over views. Here the
classes come in chunks with a running maximum and a large picture in strips, so that [classes, height, width]
never stands in memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil

import numpy as np
import torch
from jaxtyping import Float, Float32, Int32, UInt8
from torch import Tensor

from cascade_core.config import EvalConfig
from cascade_core.data.transforms import normalise
from cascade_core.evaluate.background import with_background
from cascade_core.evaluate.sliding import window_origins
from cascade_core.evaluate.strips import Box, resized_part, source_box, strips, whole
from cascade_core.evaluate.views import View
from cascade_core.evaluate.vocabulary import Vocabulary, Window, chunks
from cascade_core.model.trunk import TrunkFeatures

Picture = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Limits:
    """How much stands in memory at once; a test makes them small, nobody else needs to.

    Attributes:
        scores: numbers in one map of scores (chunk of classes x pixels), of which a handful live at a time.
        seen_pixels: pixels of a strip as the model sees them, all views and pictures of a batch together.
        target_pixels: pixels of a strip at the picture's own size, all pictures together.
        view_pixels: pixels of a whole view, which is held with 8 bits a channel.
        tokens: patches of one window.
    """

    scores: int = 2**24
    seen_pixels: int = 2**22
    target_pixels: int = 2**24
    view_pixels: int = 2**28
    tokens: int = 2**15


@dataclass(frozen=True)
class Best:
    """For each picture of a batch the best class of every pixel, and the probability the model gives it."""

    classes: Int32[np.ndarray, "batch height width"]
    confidence: Float32[np.ndarray, "batch height width"]


@dataclass(frozen=True)
class _SeenPart:
    """A strip as one view shows it: the windows on it, and what part of the view it is."""

    view: View
    size: tuple[int, int]
    box: Box
    windows: tuple[Window, ...]
    visits: Float[Tensor, "part_height part_width"]

    def scores(self, vocabulary: Vocabulary, classes: slice) -> Float[Tensor, "batch chunk height width"]:
        """Average the windows' scores over each pixel; mirrored ones are turned back."""
        total: Tensor | None = None
        for window in self.windows:
            shared = self.box.shared(window.box)
            assert shared is not None
            down, across = shared.within(window.box).slices
            scores = vocabulary.scores(window, classes)[..., down, across]
            if total is None:
                total = scores.new_zeros((*scores.shape[:2], self.box.height, self.box.width))
            down, across = shared.within(self.box).slices
            total[..., down, across] += scores
        assert total is not None
        total /= self.visits
        return total.flip(-1) if self.view.mirrored else total

    def resized(
        self,
        scores: Float[Tensor, "batch chunk height width"],
        target: Box,
        target_size: tuple[int, int],
    ) -> Float[Tensor, "batch chunk target_height target_width"]:
        source = self.box.mirrored(self.size[1]) if self.view.mirrored else self.box
        return resized_part(scores, source, self.size, target, target_size)


@torch.no_grad()
def best_classes(
    vocabulary: Vocabulary,
    pictures: Sequence[Picture],
    *,
    views: Sequence[View],
    evaluate: EvalConfig,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    limits: Limits | None = None,
) -> Best:
    """Label pictures of one size, at that size: the best class after averaging the views' scores.

    A view's scores are those of evaluation (whole, or averaged over sliding windows) on the picture as the
    view shows it, mirrored back and resized bilinearly to the picture's own size. Of equal scores the first
    class wins; background, by the policy of `evaluate`, has the id after the classes. Confidence is the
    winner's averaged probability, with the seen penalty not taken off, also where it lost to background's
    threshold.

    Raises:
        ValueError: a window holds more patches than `limits` allow.
    """
    limits = limits or Limits()
    size = pictures[0].shape[0], pictures[0].shape[1]
    config = vocabulary.segmentor.config
    sizes = [
        view.size(size, short_side=evaluate.short_side, patch_size=config.clip.patch_size) for view in views
    ]
    _check_windows(sizes, evaluate, config.clip.patch_size, limits)
    shown = [
        [view.of(picture, seen) for picture in pictures] for view, seen in zip(views, sizes, strict=True)
    ]
    classes = np.empty((len(pictures), *size), dtype=np.int32)
    confidence = np.empty(classes.shape, dtype=np.float32)
    reader = _Reader(vocabulary, evaluate, mean, std, limits)
    for strip in strips(size, _number_of_strips(size, sizes, len(pictures), evaluate, limits)):
        parts = [
            reader.part(view, seen, pixels, strip, size)
            for view, seen, pixels in zip(views, sizes, shown, strict=True)
        ]
        ids, values = _best_of_strip(vocabulary, parts, strip, size, limits)
        down, across = strip.slices
        told = with_background(
            values, ids.long(), background=evaluate.background, num_vectors=len(vocabulary)
        )
        classes[:, down, across] = told.cpu().numpy()
        confidence[:, down, across] = (values + vocabulary.penalties[ids]).cpu().numpy()
    return Best(classes, confidence)


def _number_of_strips(
    size: tuple[int, int],
    sizes: Sequence[tuple[int, int]],
    pictures: int,
    evaluate: EvalConfig,
    limits: Limits,
) -> int:
    # A window of the whole view comes whole for every strip, so cutting the view would only repeat it.
    seen = sum(height * width for height, width in sizes) if evaluate.mode == "slide" else 0
    return ceil(pictures * max(size[0] * size[1] / limits.target_pixels, seen / limits.seen_pixels))


def _best_of_strip(
    vocabulary: Vocabulary, parts: Sequence[_SeenPart], strip: Box, size: tuple[int, int], limits: Limits
) -> tuple[Tensor, Tensor]:
    """Give the best class and its score of every pixel of a strip, by a running maximum over the classes."""
    best: Tensor | None = None
    values: Tensor | None = None
    batch = len(parts[0].windows[0].features.patches)
    seen_pixels = batch * max(max(w.box.height * w.box.width for w in part.windows) for part in parts)
    seen_pixels = max(seen_pixels, batch * sum(part.box.height * part.box.width for part in parts))
    for chunk in chunks(0, len(vocabulary), limits.scores // seen_pixels):
        scores = [part.scores(vocabulary, chunk) for part in parts]
        at_once = limits.scores // (batch * strip.height * strip.width)
        for few in chunks(chunk.start, chunk.stop, at_once):
            inside = slice(few.start - chunk.start, few.stop - chunk.start)
            total: Tensor | None = None
            for part, seen in zip(parts, scores, strict=True):
                resized = part.resized(seen[:, inside], strip, size)
                total = resized if total is None else total + resized
            assert total is not None
            found, ids = total.max(dim=1)
            if best is None or values is None:
                best, values = ids.int(), found
            else:
                better = found > values
                best = torch.where(better, (ids + few.start).int(), best)
                values = torch.where(better, found, values)
    assert best is not None and values is not None
    return best, values / len(parts)


@dataclass(frozen=True)
class _Reader:
    """Sends windows through the trunk."""

    vocabulary: Vocabulary
    evaluate: EvalConfig
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    limits: Limits

    def part(
        self,
        view: View,
        seen: tuple[int, int],
        pictures: Sequence[Picture],
        strip: Box,
        size: tuple[int, int],
    ) -> _SeenPart:
        """Show the trunk all windows that a strip of the picture is made from."""
        box = source_box(strip, size, seen)
        if view.mirrored:
            box = box.mirrored(seen[1])
        everywhere = _window_boxes(seen, self.evaluate)
        boxes = [window for window in everywhere if window.shared(box) is not None]
        visits = torch.zeros(box.height, box.width)
        for window in boxes:
            shared = window.shared(box)
            assert shared is not None
            down, across = shared.within(box).slices
            visits[down, across] += 1
        windows = tuple(window for few in self._groups(boxes, pictures) for window in few)
        return _SeenPart(view, seen, box, windows, visits.to(self.vocabulary.class_vectors.device))

    def _groups(self, boxes: Sequence[Box], pictures: Sequence[Picture]) -> Iterator[list[Window]]:
        device = self.vocabulary.class_vectors.device
        for few in chunks(0, len(boxes), self.evaluate.batch_size // len(pictures)):
            crops = [
                normalise(picture[box.slices], self.mean, self.std)
                for box in boxes[few]
                for picture in pictures
            ]
            features = self.vocabulary.segmentor.trunk(torch.stack(crops).to(device))
            yield [
                self._window(box, _some(features, slice(i * len(pictures), (i + 1) * len(pictures))))
                for i, box in enumerate(boxes[few])
            ]

    def _window(self, box: Box, features: TrunkFeatures) -> Window:
        window = Window(box, features, None)
        at_once = self.limits.scores // (len(features.patches) * box.height * box.width)
        return replace(window, normaliser=self.vocabulary.normaliser(window, at_once))


def _some(features: TrunkFeatures, pictures: slice) -> TrunkFeatures:
    return TrunkFeatures(
        features.global_embedding[pictures],
        features.patches[pictures],
        tuple(tokens[pictures] for tokens in features.mid_tokens),
        features.grid,
    )


def _window_boxes(size: tuple[int, int], evaluate: EvalConfig) -> list[Box]:
    match evaluate.mode:
        case "whole":
            return [whole(size)]
        case "slide":
            crop, stride = evaluate.crop_size, evaluate.stride
            height, width = (min(crop, side) for side in size)
            rows, columns = (window_origins(side, crop, stride) for side in size)
            return [Box(top, top + height, left, left + width) for top, left in product(rows, columns)]


def _check_windows(
    sizes: Sequence[tuple[int, int]], evaluate: EvalConfig, patch_size: int, limits: Limits
) -> None:
    for size in sizes:
        if size[0] * size[1] > limits.view_pixels:
            raise ValueError(
                f"the model would see {size[1]:,} x {size[0]:,} pixels; at most {limits.view_pixels:,} are taken: "
                "cut the picture, or use a shorter short side"
            )
        window = _window_boxes(size, evaluate)[0]
        tokens = (window.height // patch_size) * (window.width // patch_size)
        if tokens > limits.tokens:
            raise ValueError(
                f"the model would see {size[1]} x {size[0]} pixels at once, {tokens:,} patches; at most "
                f"{limits.tokens:,} are taken: use sliding windows, or a shorter short side"
            )
