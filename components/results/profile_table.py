"""Profiles of models as tables (on a terminal, in Markdown, as CSV) and as a plot."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from cascade_core.profile.measure import Cost
from cascade_core.profile.meter import OTHER
from components.results.rows import padded_markdown

if TYPE_CHECKING:
    from rich.table import Table

WIDE = 400
"""Tables are this many characters wide without a terminal, so that no line wraps."""
TEXTS = ("model", "part", "engine", "precision")
"""These columns hold names; all others hold numbers."""
PANEL_WIDTH, HEIGHT, DPI = 5.5, 4.2, 110
LEAST_SHARE = 0.02
"""Parts with a smaller share of every model's time are merged into one."""
SMALL_PARTS = "small parts"


@dataclass(frozen=True)
class Profiled:
    """A model's cost, with the name that the tables give the model."""

    name: str
    method: str
    protocol: str
    cost: Cost

    def fields(self) -> dict[str, Any]:
        """Return the content of profile.json."""
        return {"method": self.method, "protocol": self.protocol, "name": self.name, **asdict(self.cost)}


def save_frames(profiles: Sequence[Profiled], folder: Path) -> None:
    """Write methods.csv, latency.csv and parts.csv, with numbers unrounded."""
    for name, frame in (("methods", methods_frame), ("latency", latency_frame), ("parts", parts_frame)):
        frame(profiles).to_csv(folder / f"{name}.csv", index=False)


def methods_frame(profiles: Sequence[Profiled]) -> pd.DataFrame:
    """Tabulate weights, multiply-adds, speed and memory of each model, and ratios to the first model.

    Time is for one picture at the first batch size and picture size; it is missing if memory ran out there.
    """
    frame = pd.DataFrame(
        [
            {
                "model": profile.name,
                "classes": profile.cost.num_classes,
                "weights": profile.cost.total_params,
                "trainable": profile.cost.trainable_params,
                "of these dead": profile.cost.dead_params,
                "GMACs": profile.cost.gmacs,
                "ms/picture": _per_picture(profile.cost),
                "best images/s": profile.cost.images_per_second,
                "peak MiB": profile.cost.peak_memory_mib,
            }
            for profile in profiles
        ]
    ).astype({"ms/picture": float})
    frame["time ratio"] = frame["ms/picture"] / frame["ms/picture"].iloc[0]
    frame["GMACs ratio"] = frame["GMACs"] / frame["GMACs"].iloc[0]
    return frame


def latency_frame(profiles: Sequence[Profiled]) -> pd.DataFrame:
    """Tabulate each model, batch size and picture size; numbers are missing if memory ran out."""
    rows = [
        {
            "model": profile.name,
            "batch": speed.batch_size,
            "picture size": speed.image_size,
            "ms/batch": speed.milliseconds_per_batch,
            "lower quartile": (speed.milliseconds_quartiles or (None, None))[0],
            "upper quartile": (speed.milliseconds_quartiles or (None, None))[1],
            "images/s": speed.images_per_second,
            "peak MiB": speed.peak_memory_mib,
        }
        for profile in profiles
        for speed in profile.cost.speeds
    ]
    return pd.DataFrame(rows).astype(dict.fromkeys(list(rows[0])[3:], float))


def parts_frame(profiles: Sequence[Profiled]) -> pd.DataFrame:
    """Tabulate each part of each model: its milliseconds and multiply-adds for a batch, and its share of the time."""
    return pd.DataFrame(
        [
            {
                "model": profile.name,
                "part": part.name,
                "batch": profile.cost.breakdown.batch_size,
                "picture size": profile.cost.breakdown.image_size,
                "ms": part.milliseconds,
                "share of time": part.milliseconds / profile.cost.breakdown.milliseconds,
                "GMACs": part.gmacs,
            }
            for profile in profiles
            for part in profile.cost.breakdown.parts
        ]
    )


def tables(profiles: Sequence[Profiled]) -> list["Table"]:
    """Lay out the three tables for a terminal."""
    return [table_of(*frame) for frame in _frames(profiles)]


def markdown(profiles: Sequence[Profiled]) -> str:
    """Lay out the three tables in Markdown."""
    return "\n".join(
        f"## {title}\n\n{caption}\n\n{padded_markdown(texts_of(frame), texts=TEXTS)}"
        for frame, title, caption in _frames(profiles)
    )


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


def number_text(value: float) -> str:
    """Format a number for people: three significant digits, or all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _frames(profiles: Sequence[Profiled]) -> list[tuple[pd.DataFrame, str, str]]:
    """Return each table with its title and its caption."""
    cost = profiles[0].cost
    where, parts = f"{cost.device}, {cost.threads} threads", cost.breakdown
    return [
        (methods_frame(profiles), f"Models ({where})", f"GMACs by {cost.gmacs_counted_by}"),
        (
            latency_frame(profiles),
            "Latency of the forward pass, maps of all classes at picture size",
            f"median and quartiles; peak memory beyond the loaded model, by {cost.peak_memory_measured_by}",
        ),
        (
            _parts_side_by_side(profiles),
            f"From pictures to label maps, by part (batch {parts.batch_size}, {parts.image_size} px)",
            "of each model the run that took the median time; GMACs of the batch",
        ),
    ]


def _parts_side_by_side(profiles: Sequence[Profiled]) -> pd.DataFrame:
    """Tabulate a part per row, in the order of the models' work, with the same columns for each model."""
    frame = parts_frame(profiles)
    order = [name for name in dict.fromkeys(frame["part"]) if name != OTHER] + [OTHER]
    side_by_side = pd.DataFrame({"part": order})
    for name, rows in frame.groupby("model", sort=False):
        own = rows.set_index("part").reindex(order)
        for column in ("ms", "share of time", "GMACs"):
            side_by_side[f"{name}, {column}" if len(profiles) > 1 else column] = own[column].to_numpy()
    return side_by_side


def table_of(frame: pd.DataFrame, title: str, caption: str) -> "Table":
    """Lay out a frame for a terminal."""
    from rich.table import Table

    table = Table(title=title, caption=caption)
    for name in frame.columns:
        is_text = name in TEXTS
        # A narrow terminal folds long headings before it cuts names.
        justify: Literal["left", "right"] = "left" if is_text else "right"
        table.add_column(name, justify=justify, no_wrap=is_text, overflow="fold")
    for row in texts_of(frame).itertuples(index=False):
        table.add_row(*row)
    return table


def texts_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Format the numbers of a frame for people."""
    return pd.DataFrame({name: [_cell(name, value) for value in frame[name]] for name in frame.columns})


def _cell(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return "out of memory" if name == "ms/batch" else "-"
    if name.endswith(", %"):
        return f"{value:.2f}"
    if name.endswith("share of time"):
        return f"{100 * value:.1f} %"
    return f"{value:,}" if isinstance(value, int) else number_text(value)


def _per_picture(cost: Cost) -> float | None:
    first = cost.speeds[0]
    return None if first.milliseconds_per_batch is None else first.milliseconds_per_batch / first.batch_size


def _lines(axes: Any, latency: pd.DataFrame, *, x: str, line_per: str, unit: str) -> None:
    for (model, value), rows in latency.groupby(["model", line_per], sort=False):
        rows = rows.sort_values(x)
        median = rows["ms/batch"]
        spread = [median - rows["lower quartile"], rows["upper quartile"] - median]
        axes.errorbar(rows[x], median, spread, marker="o", capsize=3, label=f"{model}, {value}{unit}")
    axes.set(xlabel=x, ylabel="ms per batch (median, quartiles)", ylim=(0, None))
    axes.set_xticks(sorted(set(latency[x])))
    axes.grid(axis="y", alpha=0.3)
    _legend_below(axes, columns=2)


def _bars(axes: Any, parts: pd.DataFrame, models: Sequence[str]) -> None:
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
