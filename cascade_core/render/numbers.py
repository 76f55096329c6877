"""Class ids written on the regions of a label map, so that nobody has to distinguish regions by colour alone."""

import numpy as np
from jaxtyping import Integer
from PIL import Image, ImageDraw

from cascade_core.render.fonts import drawable

LEAST_SHARE = 0.004
"""Regions on a smaller share of the picture get no number."""

NEARLY = 0.95
"""Among points so close to the innermost one, the number takes that nearest to the region's centre."""


def with_numbers(
    tile: Image.Image,
    labels: Integer[np.ndarray, "height width"],
    *,
    ignored: int,
    size: int = 16,
) -> Image.Image:
    """Return a copy of a tile with each region's class id at the region's innermost point.

    A region is a connected part of one class (4 neighbours). The tile shows the whole label map, at any scale; `size`
    is the height of the text in pixels of the tile. Regions of the id `ignored`, and regions too small for their
    number, get none.
    """
    from scipy import ndimage  # slow to import

    numbered = tile.copy()
    draw = ImageDraw.Draw(numbered)
    scale = tile.width / labels.shape[1], tile.height / labels.shape[0]
    for class_id in np.unique(labels[labels != ignored]).tolist():
        regions, count = ndimage.label(labels == class_id)
        areas = np.bincount(regions.ravel(), minlength=count + 1)
        text, font = drawable(str(class_id), size)
        for region in np.flatnonzero(areas >= max(1.0, LEAST_SHARE * labels.size)).tolist():
            if region == 0:
                continue
            # The frame counts as a border, so that no number leaves the picture.
            inside = np.pad(regions == region, 1)
            depth = ndimage.distance_transform_edt(inside, sampling=scale[::-1])
            if depth.max() * 2 < font.getlength(text):
                continue
            deepest = np.argwhere(depth >= NEARLY * depth.max())
            row, column = deepest[np.abs(deepest - np.argwhere(inside).mean(axis=0)).sum(axis=1).argmin()]
            place = ((int(column) - 0.5) * scale[0], (int(row) - 0.5) * scale[1])
            draw.text(place, text, fill="white", stroke_fill="black", stroke_width=2, font=font, anchor="mm")
    return numbered
