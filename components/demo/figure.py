"""The figure of a prediction in HTML: the photograph, its classes as a layer above it, and the legend as a table.

The layer's opacity is the CSS variable `--tint`, so that a slider changes it without asking the server again.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cascade_core.inference.prediction import Prediction
from cascade_core.render.colours import hex_colour, palette
from cascade_core.render.visualise import coloured, shrunk
from components.results.pages import data_address, fill_template, webp_address

TEMPLATES = Path(__file__).parent / "templates"
LONGEST_SIDE, QUALITY = 1280, 85
"""The longest side of a figure in pixels, and the WebP quality of its photograph; downloads keep the full size."""
PIXELS_SHOWN = 256
"""Pictures up to this side are enlarged with sharp pixels and stored without loss."""


def figure(
    title: str, pixels: UInt8[np.ndarray, "height width 3"], prediction: Prediction, colours: Sequence[str]
) -> str:
    """Return the figure of a prediction as HTML, with every class of the label map in its legend."""
    num_classes = len(prediction.labels)
    small, labels = shrunk(pixels, prediction.label_map, longest=LONGEST_SIDE)
    is_tiny = max(labels.shape) <= PIXELS_SHOWN
    layer = io.BytesIO()
    Image.fromarray(coloured(labels, num_classes, colours)).save(layer, format="PNG", optimize=True)
    levels = palette(num_classes, colours)
    present = {area.id for area in prediction.areas}
    height, width = prediction.label_map.shape
    return fill_template(
        "figure.html",
        folder=TEMPLATES,
        title=title,
        width=width,
        height=height,
        is_tiny=is_tiny,
        photograph=webp_address(Image.fromarray(small), quality=QUALITY, lossless=is_tiny),
        layer=data_address(layer.getvalue(), "png"),
        areas=[(area, hex_colour(levels[area.id])) for area in prediction.areas],
        absent=[name for i, name in enumerate(prediction.labels) if i not in present],
        num_classes=num_classes,
    )
