"""The published training input, written plainly: the baseline of `benchmarks/loader.py` and the oracle of the tests.

It decodes and resizes whole pictures, then crops, flips, distorts, normalises and pads them (mmsegmentation's pipeline
in both papers' configurations). It is not slowed down on purpose: torch resizes, and Pillow converts to and from 8-bit
HSV. It draws random numbers in the published order, so equal generators give both pipelines the same sample.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Int64, UInt8
from PIL import Image, ImageOps
from torch import Tensor

from cascade_core.configs.config import DataConfig
from cascade_core.labels.label_set import IGNORE, LabelSet

ImageArray = UInt8[np.ndarray, "height width 3"]
LabelArray = UInt8[np.ndarray, "height width"]
Sample = tuple[
    Float32[Tensor, "3 side side"],
    Int64[Tensor, "side side"],
    Bool[Tensor, "side side"],
]
"""Normalised picture, train ids with `IGNORE`, and a mask of the padding."""


def read(image: Path, label: Path, label_set: LabelSet) -> tuple[ImageArray, LabelArray]:
    """Decode a whole photograph and its train ids."""
    with Image.open(image) as picture:
        levels = np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    with Image.open(label) as raw:
        ids = label_set.table[np.array(raw)]
    return levels, ids.astype(np.uint8)


def sample(image: ImageArray, label: LabelArray, data: DataConfig, rng: np.random.Generator) -> Sample:
    """Make one training sample of `crop_size` x `crop_size` from a whole picture."""
    image, label = augmented(image, label, data, rng)
    planes = (torch.from_numpy(image.transpose(2, 0, 1).copy()).float() - _channels(data.mean)) / _channels(
        data.std
    )
    height, width = label.shape
    margins = (0, data.crop_size - width, 0, data.crop_size - height)
    padding = F.pad(torch.zeros(height, width, dtype=torch.bool), margins, value=True)
    labels = F.pad(torch.from_numpy(label.astype(np.int64)), margins, value=IGNORE)
    return F.pad(planes, margins), labels, padding


def augmented(
    image: ImageArray, label: LabelArray, data: DataConfig, rng: np.random.Generator
) -> tuple[ImageArray, LabelArray]:
    """Resize, crop, flip and distort, in 8 bits."""
    if data.resize_range is not None:
        image, label = resized(image, label, data.crop_size, rng.uniform(*data.resize_range))
    if max(label.shape) > data.crop_size:
        rows, columns = window(label, data.crop_size, data.max_class_share, rng)
        image, label = image[rows, columns], label[rows, columns]
    if data.flip and rng.random() < 0.5:
        image, label = image[:, ::-1], label[:, ::-1]
    if data.photometric:
        image = distorted(image, rng)
    return image, label


def batch(samples: Sequence[Sample]) -> tuple[Tensor, Tensor, Tensor]:
    """Stack pictures, labels and padding."""
    images, labels, padding = zip(*samples, strict=True)
    return torch.stack(images), torch.stack(labels), torch.stack(padding)


def resized(
    image: ImageArray, label: LabelArray, crop_size: int, ratio: float
) -> tuple[ImageArray, LabelArray]:
    """Fit both into (2048 r, 512 r) at a crop of 512: bilinear without antialiasing, and nearest."""
    height, width = label.shape
    factor = min(int(4 * crop_size * ratio) / max(height, width), int(crop_size * ratio) / min(height, width))
    size = max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))
    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    planes = F.interpolate(planes, size=size, mode="bilinear", align_corners=False)
    ids = F.interpolate(torch.from_numpy(label)[None, None], size=size, mode="nearest")
    return planes[0].permute(1, 2, 0).numpy(), ids[0, 0].numpy()


def window(
    label: LabelArray, crop_size: int, max_share: float | None, rng: np.random.Generator
) -> tuple[slice, slice]:
    """Draw a window; retry up to ten times while it has one class only, or one that fills `max_share`."""
    crop = _any_window(label, crop_size, rng)
    for _ in range(10 if max_share is not None else 0):
        counts = np.bincount(label[crop].ravel(), minlength=256)[:IGNORE]
        if (counts > 0).sum() > 1 and counts.max() / counts.sum() < max_share:
            break
        crop = _any_window(label, crop_size, rng)
    return crop


def distorted(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Distort brightness, contrast, saturation and hue, each with probability one half; contrast first or last."""
    if rng.random() < 0.5:
        image = affine(image, offset=rng.uniform(-32, 32))
    contrast_first = rng.random() < 0.5
    if contrast_first and rng.random() < 0.5:
        image = affine(image, scale=rng.uniform(0.5, 1.5))
    if rng.random() < 0.5:
        hsv = np.array(Image.fromarray(image).convert("HSV"))
        hsv[..., 1] = affine(hsv[..., 1], scale=rng.uniform(0.5, 1.5))
        image = np.array(Image.fromarray(hsv, mode="HSV").convert("RGB"))
    if rng.random() < 0.5:
        hsv = np.array(Image.fromarray(image).convert("HSV"))
        # Steps of two degrees; Pillow spreads the circle over 0..255, where 255 is 0 again.
        shifted = hsv[..., 0].astype(np.int16) + round(2 * int(rng.integers(-18, 18)) * 255 / 360)
        hsv[..., 0] = (shifted % 255).astype(np.uint8)
        image = np.array(Image.fromarray(hsv, mode="HSV").convert("RGB"))
    if not contrast_first and rng.random() < 0.5:
        image = affine(image, scale=rng.uniform(0.5, 1.5))
    return image


def affine(
    levels: UInt8[np.ndarray, "*shape"], *, scale: float = 1.0, offset: float = 0.0
) -> UInt8[np.ndarray, "*shape"]:
    """Scale and shift 8-bit levels and clip them to 8 bits."""
    return np.clip(levels.astype(np.float32) * scale + offset, 0, 255).astype(np.uint8)


def _any_window(label: LabelArray, crop_size: int, rng: np.random.Generator) -> tuple[slice, slice]:
    top, left = (int(rng.integers(0, max(side - crop_size, 0) + 1)) for side in label.shape)
    return slice(top, top + crop_size), slice(left, left + crop_size)


def _channels(values: tuple[float, float, float]) -> Float32[Tensor, "3 1 1"]:
    return torch.tensor(values).view(3, 1, 1)
