"""Resizing as in OpenCV: pictures bilinearly without antialiasing, label maps by the nearest id, truncated.

The window functions compute a window of the resized picture without the rest, with identical values.
"""

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.nn import functional

ImageArray = UInt8[np.ndarray, "height width 3"]
LabelArray = UInt8[np.ndarray, "height width"]
Window = tuple[slice, slice]
"""Rows and columns of a resized picture; the slices may end beyond it."""


def resize_image(image: ImageArray, size: tuple[int, int]) -> UInt8[np.ndarray, "{size[0]} {size[1]} 3"]:
    """Resize bilinearly without antialiasing, in 8 bits (within one level of OpenCV)."""
    if image.shape[:2] == size:
        return image
    # torch accepts neither mirrored views nor read-only arrays.
    whole = _planes(np.require(image, requirements=("C", "W")))
    resized = functional.interpolate(whole, size=size, mode="bilinear", align_corners=False, antialias=False)
    return resized[0].permute(1, 2, 0).numpy()


def resize_label(label: LabelArray, size: tuple[int, int]) -> UInt8[np.ndarray, "{size[0]} {size[1]}"]:
    """Resize by nearest id, with the source position truncated."""
    return label_window(label, size, (slice(0, size[0]), slice(0, size[1])))


def image_window(
    image: ImageArray, size: tuple[int, int], window: Window
) -> UInt8[Tensor, "3 window_height window_width"]:
    """Return `window` of `resize_image`'s result as planes, resizing only up to its lower right corner.

    Resizing cannot start at the window's upper left corner: that corner lies at a fractional source position, and
    torch's 8-bit kernel accepts no fractional offset.
    """
    height, width = image.shape[:2]
    if (height, width) == size:
        return _planes(image)[0][:, *window]
    stops = [min(part.stop, length) for part, length in zip(window, size, strict=True)]
    # Up to the source pixel of the last position and its right or lower neighbour.
    below, right = (
        min(source, stop * source // length + 2)
        for source, stop, length in zip((height, width), stops, size, strict=True)
    )
    # The kernel skips an axis whose length stays the same, even if its scale is not 1.
    lengths = [stop + (stop == needed) for stop, needed in zip(stops, (below, right), strict=True)]
    scales = size[0] / height, size[1] / width
    # `interpolate` calls this, but does not accept size and scales together.
    resized = torch.ops.aten.upsample_bilinear2d(_planes(image[:below, :right]), lengths, False, *scales)
    return resized[0][:, slice(window[0].start, stops[0]), slice(window[1].start, stops[1])]


def label_window(
    label: LabelArray, size: tuple[int, int], window: Window
) -> UInt8[np.ndarray, "window_height window_width"]:
    """Return `window` of `resize_label`'s result."""
    if label.shape == size:
        return label[window]
    rows, columns = (
        _nearest_positions(source, length)[part]
        for source, length, part in zip(label.shape, size, window, strict=True)
    )
    source = label[rows[0] : rows[-1] + 1]
    if len(source) < len(rows):
        # Copying rows is fast, so pick the columns from the fewer source rows first.
        return source.take(columns, axis=1)[rows - rows[0]]
    return label[rows].take(columns, axis=1)


def _nearest_positions(source: int, length: int) -> Int64[np.ndarray, " {length}"]:
    """Return the source position that torch reads for each of `length` pixels: a resized ramp."""
    ramp = torch.arange(source, dtype=torch.float32)[None, None]
    return functional.interpolate(ramp, size=length, mode="nearest")[0, 0].long().numpy()


def _planes(image: ImageArray) -> UInt8[Tensor, "1 3 height width"]:
    """View a picture as a torch batch, in the memory order that the 8-bit kernel prefers."""
    return torch.from_numpy(image).permute(2, 0, 1)[None]
