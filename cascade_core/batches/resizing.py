"""Resizing as OpenCV does it: pictures bilinearly without antialiasing, label maps by the nearest id, truncated.

A window of the resized picture is made without the rest of it, of the very levels that the whole would have there.
"""

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.nn import functional

ImageArray = UInt8[np.ndarray, "height width 3"]
LabelArray = UInt8[np.ndarray, "height width"]
Window = tuple[slice, slice]
"""Rows and columns of a resized picture; their ends may lie beyond its own."""


def resize_image(image: ImageArray, size: tuple[int, int]) -> UInt8[np.ndarray, "{size[0]} {size[1]} 3"]:
    """Resize bilinearly without antialiasing, in 8 bits (within one level of OpenCV)."""
    if image.shape[:2] == size:
        return image
    # A caller's own array may be a mirrored view or not writable, neither of which torch takes.
    whole = _planes(np.require(image, requirements=("C", "W")))
    resized = functional.interpolate(whole, size=size, mode="bilinear", align_corners=False, antialias=False)
    return resized[0].permute(1, 2, 0).numpy()


def resize_label(label: LabelArray, size: tuple[int, int]) -> UInt8[np.ndarray, "{size[0]} {size[1]}"]:
    """Resize by taking the nearest id, source position truncated."""
    return label_window(label, size, (slice(0, size[0]), slice(0, size[1])))


def image_window(
    image: ImageArray, size: tuple[int, int], window: Window
) -> UInt8[Tensor, "3 window_height window_width"]:
    """Cut `window` out of what `resize_image` gives, as planes, having resized only up to its lower right corner.

    (Not from its upper left one as well: there the source lies a fraction of a pixel off, for which torch's kernel
    for 8 bits has no argument; another one costs more than these pixels do.)
    """
    height, width = image.shape[:2]
    if (height, width) == size:
        return _planes(image)[0][:, *window]
    stops = [min(part.stop, length) for part, length in zip(window, size, strict=True)]
    # One more than the last position lies at, and that one's neighbour.
    below, right = (
        min(source, stop * source // length + 2)
        for source, stop, length in zip((height, width), stops, size, strict=True)
    )
    # The kernel leaves an axis alone that is as long before as after, whatever its scale.
    lengths = [stop + (stop == needed) for stop, needed in zip(stops, (below, right), strict=True)]
    scales = size[0] / height, size[1] / width
    # What `interpolate` calls, which would not take a size together with scales.
    resized = torch.ops.aten.upsample_bilinear2d(_planes(image[:below, :right]), lengths, False, *scales)
    return resized[0][:, slice(window[0].start, stops[0]), slice(window[1].start, stops[1])]


def label_window(
    label: LabelArray, size: tuple[int, int], window: Window
) -> UInt8[np.ndarray, "window_height window_width"]:
    """Cut `window` out of what `resize_label` gives."""
    if label.shape == size:
        return label[window]
    rows, columns = (
        _nearest_positions(source, length)[part]
        for source, length, part in zip(label.shape, size, window, strict=True)
    )
    source = label[rows[0] : rows[-1] + 1]
    if len(source) < len(rows):
        # Whole rows are copied fast: columns are picked of as few as there are.
        return source.take(columns, axis=1)[rows - rows[0]]
    return label[rows].take(columns, axis=1)


def _nearest_positions(source: int, length: int) -> Int64[np.ndarray, " {length}"]:
    """Tell which of `source` pixels torch takes for each of `length`: a ramp, resized."""
    ramp = torch.arange(source, dtype=torch.float32)[None, None]
    return functional.interpolate(ramp, size=length, mode="nearest")[0, 0].long().numpy()


def _planes(image: ImageArray) -> UInt8[Tensor, "1 3 height width"]:
    """View a picture as torch's, in the order in memory that its 8-bit kernel likes best."""
    return torch.from_numpy(image).permute(2, 0, 1)[None]
