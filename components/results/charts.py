"""Line charts as SVG text, for pages that must be one file."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 7.6, 3.0
"""In inches; the page stretches a chart to its column."""
GREY = "#808080"
"""Seen on light and on dark pages; text takes its colour from the page."""


@dataclass(frozen=True)
class Curve:
    """A named line through points (x, y)."""

    title: str
    points: tuple[tuple[float, float], ...]
    colour: str
    dashed: bool = False


def line_chart(curves: Sequence[Curve], *, x_title: str, y_title: str) -> str:
    """Draw curves on shared axes that start at zero, with a gap where a point is not finite.

    The same curves give the same text. No curve gives empty axes.
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
    axes.set(xlabel=x_title, ylabel=y_title, xlim=(0, None), ylim=(0, None))
    axes.grid(axis="y", color=GREY, alpha=0.3)
    axes.tick_params(color=GREY)
    axes.spines[:].set_visible(False)
    drawn = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "chart"}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(drawn, format="svg", transparent=True, metadata=nothing)
    _, _, svg = drawn.getvalue().partition("<svg ")
    return f'<svg role="img" aria-label="{escape(f"{y_title} by {x_title}")}" {svg}'
