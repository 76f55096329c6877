"""Fill templates of HTML pages; each page is one file, with its charts and pictures inside."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEMPLATES = Path(__file__).parent / "templates"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#3b3b3b", "#7a3e9d")
"""Curves take these colours in turn; the first six are Okabe and Ito's, which colour-blind people distinguish."""
WIDTH, HEIGHT = 7.6, 3.0
"""The size of a chart in inches; the page stretches it to its column."""
GREY = "#808080"
"""This grey is visible on light and dark pages; a chart's text takes the page's colour."""


@dataclass(frozen=True)
class Curve:
    """A named line through points (x, y)."""

    title: str
    points: tuple[tuple[float, float], ...]
    colour: str
    dashed: bool = False


def fill_template(template: str, *, folder: Path = TEMPLATES, **values: Any) -> str:
    """Fill a template of a folder, with text escaped; a name that `values` lacks is an error."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def line_chart(curves: Sequence[Curve], *, x_title: str, y_title: str, numbered: bool = False) -> str:
    """Draw curves as SVG, on shared axes that start at zero, with a gap where a point is not finite.

    With `numbered`, each curve carries its number, from 1, for those who cannot distinguish the colours. The same
    curves give the same text. Without curves the axes are empty.
    """
    # Imported here: it costs a second, and a figure made without pyplot needs no display or global state.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots()
    for curve in curves:
        axes.plot(
            *zip(*curve.points, strict=True), color=curve.colour, linestyle="--" if curve.dashed else "-"
        )
    if numbered:
        _number(axes, curves)
    axes.set(xlabel=x_title, ylabel=y_title, xlim=(0, None), ylim=(0, None))
    axes.grid(axis="y", color=GREY, alpha=0.3)
    axes.tick_params(color=GREY)
    axes.spines[:].set_visible(False)
    text = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "chart"}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    _, _, svg = text.getvalue().partition("<svg ")
    return f'<svg role="img" aria-label="{escape(f"{y_title} by {x_title}")}" {svg}'


def _number(axes: "Axes", curves: Sequence[Curve]) -> None:
    """Write each curve's number on it, at places that differ so that numbers do not overlap."""
    box = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": GREY, "linewidth": 0.8}
    for number, curve in enumerate(curves, start=1):
        finite = [point for point in curve.points if math.isfinite(point[1])]
        if finite:
            place = finite[(len(finite) - 1) * number // (len(curves) + 1)]
            axes.text(*place, str(number), fontsize=7, ha="center", va="center", bbox=box)


def webp_address(picture: Image.Image, *, quality: int, lossless: bool = False) -> str:
    """Compress a picture as WebP, small enough to put many on one page, and return its data URL."""
    content = io.BytesIO()
    picture.save(content, format="WEBP", quality=quality, lossless=lossless)
    return data_address(content.getvalue(), "webp")


def data_address(content: bytes, kind: str) -> str:
    """Return the data URL of an image file of this kind, such as `png`."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
