"""Augmentation for training and resizing for evaluation, in the published distribution.

The training chain is that of mmsegmentation's configurations used by both papers: random resize, random
crop, flip, photometric distortion on 8-bit values, normalisation, padding. Interpolation follows OpenCV:
bilinear without antialiasing, nearest by truncation. All randomness comes from the generator passed in.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional

from cascade_core.config import DataConfig
from cascade_core.labelsets import IGNORE

ImageArray = UInt8[np.ndarray, "height width 3"]
LabelArray = UInt8[np.ndarray, "height width"]
Transformed = tuple[
    Float32[Tensor, "3 new_height new_width"],
    Int64[Tensor, "label_height label_width"],
    Bool[Tensor, "new_height new_width"],
]
"""Normalised picture, train ids with `IGNORE`, and where the picture is padding."""

LONG_SIDE_CAP = 4
"""Long sides beyond this many short-side targets shrink the resize factor (published: 2048 / 512)."""
CROP_RETRIES = 10


@dataclass(frozen=True)
class TrainTransform:
    """Turn a photograph and its train ids into a training sample of `crop_size` x `crop_size`."""

    data: DataConfig

    def __call__(self, image: ImageArray, label: LabelArray, rng: np.random.Generator) -> Transformed:
        data = self.data
        if data.resize_range is not None:
            size = random_size(image.shape[:2], data.crop_size, data.resize_range, rng=rng)
            image, label = resize_image(image, size), resize_label(label, size)
        if max(label.shape) > data.crop_size:
            rows, columns = random_crop(label, data.crop_size, max_class_share=data.max_class_share, rng=rng)
            image, label = image[rows, columns], label[rows, columns]
        if data.flip and rng.random() < 0.5:
            image, label = image[:, ::-1], label[:, ::-1]
        if data.photometric:
            image = photometric_distortion(image, rng)
        return pad(normalise(image, data.mean, data.std), _label_tensor(label), data.crop_size)


@dataclass(frozen=True)
class EvalTransform:
    """Resize the short side of a photograph to `short_side` (None: keep it) and normalise; no padding.

    The label keeps its own size, at which predictions are compared with it.
    """

    data: DataConfig
    short_side: int | None

    def __call__(
        self, image: ImageArray, label: LabelArray, rng: np.random.Generator | None = None
    ) -> Transformed:
        if self.short_side is not None:
            image = resize_image(image, short_side_size(image.shape[:2], self.short_side))
        picture = normalise(image, self.data.mean, self.data.std)
        return picture, _label_tensor(label), torch.zeros(picture.shape[1:], dtype=torch.bool)


def train_transform(data: DataConfig) -> TrainTransform:
    """Give the training augmentation of a data configuration."""
    return TrainTransform(data)


def eval_transform(data: DataConfig, *, short_side: int | None) -> EvalTransform:
    """Give the evaluation transform of a data configuration."""
    return EvalTransform(data, short_side)


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
    """Give the size whose short side is exactly `short_side`; the long side is unbounded."""
    height, width = size
    factor = short_side / min(height, width)
    return _scaled(height, factor), _scaled(width, factor)


def resize_image(image: ImageArray, size: tuple[int, int]) -> UInt8[np.ndarray, "{size[0]} {size[1]} 3"]:
    """Resize bilinearly without antialiasing, in 8 bits (within one level of OpenCV)."""
    if image.shape[:2] == size:
        return image
    planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    resized = functional.interpolate(planes, size=size, mode="bilinear", align_corners=False, antialias=False)
    return resized[0].permute(1, 2, 0).numpy()


def resize_label(label: LabelArray, size: tuple[int, int]) -> UInt8[np.ndarray, "{size[0]} {size[1]}"]:
    """Resize by taking the nearest id, source position truncated."""
    if label.shape == size:
        return label
    plane = torch.from_numpy(np.ascontiguousarray(label))[None, None]
    return functional.interpolate(plane, size=size, mode="nearest")[0, 0].numpy()


def random_crop(
    label: LabelArray, crop_size: int, *, max_class_share: float | None, rng: np.random.Generator
) -> tuple[slice, slice]:
    """Draw a window in which no class fills `max_class_share` or more of the labelled pixels.

    A window that also lacks a second class is drawn anew, up to ten times; the last one stands unchecked.
    None takes the first window. Sides shorter than the crop are taken whole.
    """
    window = _random_window(label.shape, crop_size, rng)
    if max_class_share is None:
        return window
    for _ in range(CROP_RETRIES):
        counts = np.bincount(label[window].ravel(), minlength=IGNORE + 1)[:IGNORE]
        if np.count_nonzero(counts) > 1 and counts.max() / counts.sum() < max_class_share:
            return window
        window = _random_window(label.shape, crop_size, rng)
    return window


def photometric_distortion(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """Distort brightness, contrast, saturation and hue, each with probability one half.

    Contrast comes before or after saturation and hue, by a coin. Values are cut to 8 bits after each step.
    Hue moves by whole steps of two degrees, -18 to 17.
    """
    if rng.random() < 0.5:
        image = _affine(image, offset=rng.uniform(-32, 32))
    contrast_first = rng.random() < 0.5
    if contrast_first:
        image = _random_contrast(image, rng)
    if rng.random() < 0.5:
        image = _change_saturation(image, rng.uniform(0.5, 1.5))
    if rng.random() < 0.5:
        image = _turn_hue(image, 2 * int(rng.integers(-18, 18)))
    return image if contrast_first else _random_contrast(image, rng)


def normalise(
    image: ImageArray, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Float32[Tensor, "3 height width"]:
    """Subtract the mean and divide by the deviation of each channel, both on the scale 0..255."""
    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()
    return planes.sub_(torch.tensor(mean).view(3, 1, 1)).div_(torch.tensor(std).view(3, 1, 1))


def pad(
    image: Float32[Tensor, "3 height width"], label: Int64[Tensor, "height width"], side: int
) -> tuple[Float32[Tensor, "3 {side} {side}"], Int64[Tensor, "{side} {side}"], Bool[Tensor, "{side} {side}"]]:
    """Pad right and bottom to a square: the normalised picture with 0 (the mean), the label with `IGNORE`."""
    height, width = label.shape
    margins = (0, side - width, 0, side - height)
    padding = torch.ones(side, side, dtype=torch.bool)
    padding[:height, :width] = False
    return functional.pad(image, margins), functional.pad(label, margins, value=IGNORE), padding


def _label_tensor(label: LabelArray) -> Int64[Tensor, "height width"]:
    return torch.from_numpy(label.astype(np.int64))


def _scaled(length: int, factor: float) -> int:
    return max(1, int(length * factor + 0.5))


def _random_window(size: tuple[int, ...], crop_size: int, rng: np.random.Generator) -> tuple[slice, slice]:
    top, left = (int(rng.integers(0, max(length - crop_size, 0) + 1)) for length in size)
    return slice(top, top + crop_size), slice(left, left + crop_size)


def _affine(
    levels: UInt8[np.ndarray, "*shape"], *, scale: float = 1.0, offset: float = 0.0
) -> UInt8[np.ndarray, "*shape"]:
    return np.clip(levels.astype(np.float32) * scale + offset, 0, 255).astype(np.uint8)


def _random_contrast(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    return _affine(image, scale=rng.uniform(0.5, 1.5)) if rng.random() < 0.5 else image


def _change_saturation(image: ImageArray, scale: float) -> ImageArray:
    hsv = _to_hsv(image)
    hsv[..., 1] = _affine(hsv[..., 1], scale=scale)
    return _to_rgb(hsv)


def _turn_hue(image: ImageArray, degrees: int) -> ImageArray:
    hsv = _to_hsv(image)
    # Pillow spreads the circle over 0..255, where 255 is 0 again.
    shifted = hsv[..., 0].astype(np.int16) + round(degrees * 255 / 360)
    hsv[..., 0] = (shifted % 255).astype(np.uint8)
    return _to_rgb(hsv)


def _to_hsv(image: ImageArray) -> ImageArray:
    return np.array(Image.fromarray(np.ascontiguousarray(image)).convert("HSV"))


def _to_rgb(hsv: ImageArray) -> ImageArray:
    return np.array(Image.fromarray(hsv, mode="HSV").convert("RGB"))
