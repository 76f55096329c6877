"""Line charts as SVG text, for pages that must be one file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 16.0, 12.0, 44.0
TICKS = 5


@dataclass(frozen=True)
class Curve:
    """A named line through points (x, y)."""

    title: str
    points: tuple[tuple[float, float], ...]
    colour: str
    dashed: bool = False


def line_chart(curves: Sequence[Curve], *, x_title: str, y_title: str) -> str:
    """Draw curves on shared axes that start at zero; points that are not finite are left out.

    Text and grid take their colour from the page (classes `grid` and `axis`). No curve gives an empty chart.
    """
    finite = [[(x, y) for x, y in curve.points if math.isfinite(x) and math.isfinite(y)] for curve in curves]
    x_ticks = ticks(max((x for points in finite for x, _ in points), default=1.0))
    y_ticks = ticks(max((y for points in finite for _, y in points), default=1.0))

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * x / x_ticks[-1]
        down = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / y_ticks[-1]
        return across, down

    parts = []
    for y in y_ticks:
        _, down = place(0, y)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down:.1f}" y2="{down:.1f}"/>')
        parts.append(f'<text class="axis" x="{LEFT - 8}" y="{down + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in x_ticks:
        across, _ = place(x, 0)
        label = f'x="{across:.1f}" y="{HEIGHT - BOTTOM + 18:.1f}" text-anchor="middle"'
        parts.append(f'<text class="axis" {label}>{x:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="axis" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_title)}</text>'
    )
    centre = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="axis" transform="translate(14 {centre}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_title)}</text>"
    )
    for curve, points in zip(curves, finite, strict=True):
        path = " ".join(f"{across:.1f},{down:.1f}" for across, down in (place(x, y) for x, y in points))
        dashes = ' stroke-dasharray="6 4"' if curve.dashed else ""
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{curve.colour}" stroke-width="2"{dashes}>'
            f"<title>{escape(curve.title)}</title></polyline>"
        )
    label = f"{y_title} by {x_title}"
    return f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def ticks(largest: float) -> list[float]:
    """Give round numbers from 0 to the first that is at least `largest`."""
    if largest <= 0:
        return [0.0, 1.0]
    raw = largest / TICKS
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = magnitude * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * (1 - 1e-9))
    return [round(step * i, 10) for i in range(math.ceil(largest / step - 1e-9) + 1)]
