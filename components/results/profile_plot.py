"""Profiles of models as one plot: latency by batch size and picture size, and the parts of the time."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.results.profile_table import Profiled, latency_frame, number_text, parts_frame

if TYPE_CHECKING:
    import pandas as pd

PANEL_WIDTH, HEIGHT, DPI = 5.5, 4.2, 110
LEAST_SHARE = 0.02
"""Parts with a smaller share of every model's time become one."""
SMALL_PARTS = "small parts"


def save_plot(profiles: Sequence[Profiled], path: Path) -> None:
    """Plot latency against batch size, latency against picture size, and shares of the time, as PNG."""
    # Imported here: it costs a second, and a figure made without pyplot needs no display or global state.
    from matplotlib.figure import Figure

    latency = latency_frame(profiles).dropna()
    figure = Figure(figsize=(3 * PANEL_WIDTH, HEIGHT), layout="constrained")
    by_batch, by_size, parts = figure.subplots(1, 3)
    _lines(by_batch, latency, x="batch", line_per="picture size", unit=" px")
    _lines(by_size, latency, x="picture size", line_per="batch", unit=" at once")
    _bars(parts, parts_frame(profiles), [profile.name for profile in profiles])
    figure.savefig(path, dpi=DPI)


def _lines(axes: Any, latency: "pd.DataFrame", *, x: str, line_per: str, unit: str) -> None:
    for (model, value), rows in latency.groupby(["model", line_per], sort=False):
        rows = rows.sort_values(x)
        median = rows["ms/batch"]
        spread = [median - rows["lower quartile"], rows["upper quartile"] - median]
        axes.errorbar(rows[x], median, spread, marker="o", capsize=3, label=f"{model}, {value}{unit}")
    axes.set(xlabel=x, ylabel="ms per batch (median, quartiles)", ylim=(0, None))
    axes.set_xticks(sorted(set(latency[x])))
    axes.grid(axis="y", alpha=0.3)
    _legend_below(axes, columns=2)


def _bars(axes: Any, parts: "pd.DataFrame", models: Sequence[str]) -> None:
    from matplotlib import colormaps

    largest = parts.groupby("part")["share of time"].max()
    parts = parts.assign(part=parts["part"].where(parts["part"].map(largest) >= LEAST_SHARE, SMALL_PARTS))
    shares = parts.pivot_table(
        index="model", columns="part", values="share of time", aggfunc="sum", fill_value=0, sort=False
    ).loc[list(models)]
    totals = parts.groupby("model")["ms"].sum()
    labels = [f"{model}\n{number_text(totals[model])} ms" for model in models]
    left = shares.iloc[:, 0] * 0
    # Twice the usual ten colours: no two parts look alike.
    colours = colormaps["tab20"]
    for place, part in enumerate(shares.columns):
        axes.barh(labels, 100 * shares[part], left=100 * left, label=part, color=colours(place))
        left = left + shares[part]
    axes.set(xlabel="percent of the time from pictures to label maps", xlim=(0, 100))
    axes.invert_yaxis()
    _legend_below(axes, columns=3)


def _legend_below(axes: Any, *, columns: int) -> None:
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=columns)
