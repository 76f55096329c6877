"""A chart of settings side by side: the mean of each score with its interval over seeds."""

import io
import math
from collections.abc import Mapping, Sequence

from components.results.intervals import mean_interval
from components.results.names import SCORES
from components.results.pages import COLOURS, GREY

SHOWN = ("miou_seen", "miou_unseen", "hiou")
ROW, AROUND = 0.42, 1.1
"""Height in inches of a setting, and of what is around all settings."""


def cell_chart(cells: Sequence[str], scores: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Draw a row for each cell as SVG, the first cell at the top, with a dot and a bar per score.

    `scores` holds by score, for each cell, its values as fractions, one a seed. A bar is the 95 % interval of the mean; a cell with
    one value has none. A vertical line marks the first cell's mean. The same values give the same text.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # Text as text is small and can be searched; a white ground reads on dark pages too.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "chart", "font.size": 9}):
        figure = Figure(figsize=(7.6, AROUND + ROW * len(cells)), layout="constrained")
        axes = figure.subplots()
        for place, score in enumerate(SHOWN):
            colour, shift = COLOURS[place], 0.2 * (place - 1)
            means = [mean_interval(values) for values in scores[score]]
            points = [(row + shift, one) for row, one in enumerate(means) if one is not None]
            axes.errorbar(
                [100 * one.difference for _, one in points],
                [row for row, _ in points],
                xerr=[100 * _reach(one.high - one.difference) for _, one in points],
                fmt="o",
                markersize=4,
                capsize=2,
                color=colour,
                label=SCORES[score],
            )
            if means[0] is not None:
                axes.axvline(100 * means[0].difference, color=colour, linewidth=0.8, alpha=0.4)
        axes.set_yticks(range(len(cells)), cells)
        axes.set_ylim(len(cells) - 0.5, -0.5)
        axes.set_xlabel("percent; mean with its 95 % interval over seeds")
        axes.grid(axis="y", color=GREY, alpha=0.2)
        axes.spines[["top", "right", "left"]].set_visible(False)
        figure.legend(loc="outside upper right", ncols=len(SHOWN), frameon=False)
        text = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing)
    return text.getvalue()


def _reach(reach: float) -> float:
    return reach if math.isfinite(reach) else 0.0
