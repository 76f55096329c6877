"""Augmentation for training and resizing for evaluation, in the published distribution.

The training chain is that of mmsegmentation's configurations used by both papers: random resize, random
crop, flip, photometric distortion on 8-bit values, padding, normalisation. It draws all random numbers in that order
from the caller's generator, but computes only the crop. Samples stay in 8 bits: the device normalises them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from cascade_core.batches.photometric import photometric_distortion
from cascade_core.batches.resizing import (
    ImageArray,
    LabelArray,
    Window,
    image_window,
    label_window,
    resize_image,
    resize_label,
)
from cascade_core.configs.config import DataConfig
from cascade_core.labels.label_set import IGNORE

Packed = tuple[UInt8[Tensor, "3 side side"], UInt8[Tensor, "side side"], Bool[Tensor, "side side"]]
"""A training sample: levels, train ids with `IGNORE`, and a mask of the padding."""
Transformed = tuple[
    Float32[Tensor, "3 new_height new_width"],
    Int64[Tensor, "label_height label_width"],
    Bool[Tensor, "new_height new_width"],
]
"""An evaluation sample: normalised picture, train ids with `IGNORE`, and a mask of the padding."""

Channels = tuple[float, float, float]
"""One number each for red, green and blue, on the scale 0..255."""

LONG_SIDE_CAP = 4
"""The long side is at most this many times the short side's target (published: 2048 / 512)."""
CROP_RETRIES = 10
SAMPLING_STEP = 16
"""Every 16th row and column suffice to guess a crop's commonest class."""


@dataclass(frozen=True)
class TrainTransform:
    """Make a training sample of `crop_size` x `crop_size` from a photograph and its train ids."""

    data: DataConfig

    def __call__(self, image: ImageArray, label: LabelArray, rng: np.random.Generator) -> Packed:
        size, window, label = self._random_geometry(label, rng)
        levels = image_window(image, size, window)
        mirrored = self.data.flip and rng.random() < 0.5
        if self.data.photometric:
            levels = torch.from_numpy(photometric_distortion(levels.contiguous().numpy(), rng))
        labels = torch.from_numpy(label)
        if mirrored:
            levels, labels = levels.flip(-1), labels.flip(-1)
        return pad(levels, labels, self.data.crop_size)

    def _random_geometry(
        self, label: LabelArray, rng: np.random.Generator
    ) -> tuple[tuple[int, int], Window, UInt8[np.ndarray, "window_height window_width"]]:
        """Draw a size for the resized picture and a window of it; return both and the window's labels."""
        data = self.data
        height, width = label.shape
        size = height, width
        if data.resize_range is not None:
            size = random_size(size, data.crop_size, data.resize_range, rng=rng)
        if max(size) > data.crop_size:
            return size, *random_crop(
                label, size, data.crop_size, max_class_share=data.max_class_share, rng=rng
            )
        return size, (slice(0, size[0]), slice(0, size[1])), resize_label(label, size)


@dataclass(frozen=True)
class EvalTransform:
    """Resize to `short_side` (None: keep the size) and normalise; labels keep their size, for scoring."""

    data: DataConfig
    short_side: int | None
    keep_ratio: bool = True

    def __call__(
        self, image: ImageArray, label: LabelArray, rng: np.random.Generator | None = None
    ) -> Transformed:
        if self.short_side is not None:
            image = resize_image(
                image, seen_size(image.shape[:2], self.short_side, keep_ratio=self.keep_ratio)
            )
        picture = normalise(image, self.data.mean, self.data.std)
        padding = torch.zeros(picture.shape[1:], dtype=torch.bool)
        return picture, torch.from_numpy(label.astype(np.int64)), padding


def random_size(
    size: tuple[int, ...], crop_size: int, ratio_range: tuple[float, float], *, rng: np.random.Generator
) -> tuple[int, int]:
    """Draw a factor r and fit the picture into (4 r crop_size, r crop_size), keeping its aspect ratio.

    The short side becomes r times the crop size, unless the picture is more than four times as long.
    """
    ratio = rng.uniform(*ratio_range)
    height, width = size
    long_cap, short_cap = int(LONG_SIDE_CAP * crop_size * ratio), int(crop_size * ratio)
    factor = min(long_cap / max(height, width), short_cap / min(height, width))
    return _scaled(height, factor), _scaled(width, factor)


def short_side_size(size: tuple[int, ...], short_side: int) -> tuple[int, int]:
    """Return the size with the same aspect ratio whose short side is exactly `short_side`."""
    height, width = size
    factor = short_side / min(height, width)
    return _scaled(height, factor), _scaled(width, factor)


def seen_size(size: tuple[int, ...], short_side: int | None, *, keep_ratio: bool) -> tuple[int, int]:
    """Return the size at which evaluation sees a picture: its own without a short side, and a square if no ratio is kept."""
    height, width = size
    if short_side is None:
        return height, width
    return short_side_size(size, short_side) if keep_ratio else (short_side, short_side)


def random_crop(
    label: LabelArray,
    size: tuple[int, int],
    crop_size: int,
    *,
    max_class_share: float | None,
    rng: np.random.Generator,
) -> tuple[Window, UInt8[np.ndarray, "window_height window_width"]]:
    """Draw a window of a label map resized to `size`; return the window and its labels.

    Retry up to ten times while the window has fewer than two classes, or one class fills `max_class_share` or more
    of its labelled pixels; the last window is accepted unchecked. With `max_class_share=None` the first window is
    accepted. The window covers sides shorter than the crop entirely.
    """
    window = _random_window(size, crop_size, rng)
    labels = label_window(label, size, window)
    if max_class_share is None or _is_mixed(labels, max_class_share):
        return window, labels
    # Many pictures have a single class, so none of their windows is mixed.
    hopeless = np.count_nonzero(_pixels(label)) <= 1
    # Resizing the whole map once is cheaper than several windows.
    resized = resize_label(label, size)
    for _ in range(CROP_RETRIES):
        window = _random_window(size, crop_size, rng)
        if not hopeless and _is_mixed(resized[window], max_class_share):
            break
    return window, resized[window]


def normalise(image: ImageArray, mean: Channels, std: Channels) -> Float32[Tensor, "3 height width"]:
    """Subtract the mean and divide by the deviation of each channel, both on the scale 0..255."""
    return normalise_levels(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), mean, std)


def to_picture(
    image: Float[Tensor, "3 height width"],
    *,
    mean: Channels,
    std: Channels,
) -> UInt8[np.ndarray, "height width 3"]:
    """Undo the normalisation of a picture; mean and standard deviation are on the scale 0..255."""
    scale, offset = torch.tensor(std).view(3, 1, 1), torch.tensor(mean).view(3, 1, 1)
    levels = (image.cpu().float() * scale + offset).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def normalise_levels(
    levels: UInt8[Tensor, "*batch 3 height width"], mean: Sequence[float], std: Sequence[float]
) -> Float32[Tensor, "*batch 3 height width"]:
    """Normalise planes on their device; loaders that pin memory pass mean and std as lists."""
    # Created on the CPU and copied asynchronously: creating them on a GPU would sync with it.
    centre, deviation = (
        torch.tensor(values).view(3, 1, 1).to(levels.device, non_blocking=True) for values in (mean, std)
    )
    return levels.float().sub_(centre).div_(deviation)


def pad(levels: UInt8[Tensor, "3 height width"], labels: UInt8[Tensor, "height width"], side: int) -> Packed:
    """Pad right and bottom to a square: levels with 0, labels with `IGNORE`."""
    height, width = labels.shape
    margins = (0, side - width, 0, side - height)
    padding = torch.ones(side, side, dtype=torch.bool)
    padding[:height, :width] = False
    if not any(margins):
        return levels, labels, padding
    return functional.pad(levels, margins), functional.pad(labels, margins, value=IGNORE), padding


def _scaled(length: int, factor: float) -> int:
    return max(1, int(length * factor + 0.5))


def _random_window(size: tuple[int, ...], crop_size: int, rng: np.random.Generator) -> tuple[slice, slice]:
    top, left = (int(rng.integers(0, max(length - crop_size, 0) + 1)) for length in size)
    return slice(top, top + crop_size), slice(left, left + crop_size)


def _is_mixed(labels: UInt8[np.ndarray, "height width"], max_class_share: float) -> bool:
    """Check that there are several classes and that none fills `max_class_share` of the labelled pixels.

    Counting a sparse sample's commonest class nearly always suffices: all others together fill less than that share.
    """
    num_pixels = np.count_nonzero(labels != IGNORE)
    likely = np.bincount(labels[::SAMPLING_STEP, ::SAMPLING_STEP].ravel(), minlength=IGNORE + 1)[
        :IGNORE
    ].argmax()
    most = np.count_nonzero(labels == np.uint8(likely))
    if most and (num_pixels - most) / num_pixels < max_class_share:
        return bool(most < num_pixels and most / num_pixels < max_class_share)
    counts = _pixels(labels)
    return bool(np.count_nonzero(counts) > 1 and counts.max() / num_pixels < max_class_share)


def _pixels(labels: UInt8[np.ndarray, "height width"]) -> Int64[np.ndarray, " classes"]:
    """Count the pixels of each class; torch counts bytes twice as fast as numpy."""
    return torch.bincount(torch.from_numpy(labels).flatten(), minlength=IGNORE + 1)[:IGNORE].numpy()
