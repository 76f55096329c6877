"""What was measured of models as tables: on a terminal, in Markdown, and as CSV."""

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

NOTHING = "-"
WIDE = 400
"""Characters of a line where no terminal says how many it has, so that nothing is wrapped."""
TEXTS = ("model", "part")
"""Columns that are no numbers."""


@dataclass(frozen=True)
class Profiled:
    """A model under the name that the tables give it, and its cost."""

    name: str
    method: str
    protocol: str
    cost: Cost

    def fields(self) -> dict[str, Any]:
        """Give what profile.json holds."""
        return {"method": self.method, "protocol": self.protocol, "name": self.name, **asdict(self.cost)}


def save_frames(profiles: Sequence[Profiled], folder: Path) -> None:
    """Write methods.csv, latency.csv and parts.csv, numbers unrounded."""
    methods_frame(profiles).to_csv(folder / "methods.csv", index=False)
    latency_frame(profiles).to_csv(folder / "latency.csv", index=False)
    parts_frame(profiles).to_csv(folder / "parts.csv", index=False)


def methods_frame(profiles: Sequence[Profiled]) -> pd.DataFrame:
    """Give a row a model: weights, multiply-adds, speed and memory, and time and multiply-adds over the first's.

    Time is that of one picture at the first batch and picture size, missing where memory ran out there.
    """
    rows = [
        {
            "model": one.name,
            "classes": one.cost.num_classes,
            "weights": one.cost.total_params,
            "trainable": one.cost.trainable_params,
            "of these dead": one.cost.dead_params,
            "GMACs": one.cost.gmacs,
            "ms/picture": _per_picture(one.cost),
            "best images/s": one.cost.images_per_second,
            "peak MiB": one.cost.peak_memory_mib,
        }
        for one in profiles
    ]
    frame = pd.DataFrame(rows).astype({"ms/picture": float})
    frame["time ratio"] = frame["ms/picture"] / frame["ms/picture"].iloc[0]
    frame["GMACs ratio"] = frame["GMACs"] / frame["GMACs"].iloc[0]
    return frame


def latency_frame(profiles: Sequence[Profiled]) -> pd.DataFrame:
    """Give a row for each model, batch and picture size; numbers are missing where memory ran out."""
    rows = [
        {
            "model": one.name,
            "batch": speed.batch_size,
            "picture size": speed.image_size,
            "ms/batch": speed.milliseconds_per_batch,
            "lower quartile": (speed.milliseconds_quartiles or (None, None))[0],
            "upper quartile": (speed.milliseconds_quartiles or (None, None))[1],
            "images/s": speed.images_per_second,
            "peak MiB": speed.peak_memory_mib,
        }
        for one in profiles
        for speed in one.cost.speeds
    ]
    return pd.DataFrame(rows).astype(dict.fromkeys(list(rows[0])[3:], float))


def parts_frame(profiles: Sequence[Profiled]) -> pd.DataFrame:
    """Give a row for each model and part: milliseconds and multiply-adds of a batch, and their shares."""
    rows = [
        {
            "model": one.name,
            "part": part.name,
            "batch": one.cost.breakdown.batch_size,
            "picture size": one.cost.breakdown.image_size,
            "ms": part.milliseconds,
            "share of time": part.milliseconds / one.cost.breakdown.milliseconds,
            "GMACs": part.gmacs,
        }
        for one in profiles
        for part in one.cost.breakdown.parts
    ]
    return pd.DataFrame(rows)


def _parts_side_by_side(profiles: Sequence[Profiled]) -> pd.DataFrame:
    """Give a row a part, in the order of the models' work, and for each model its columns."""
    frame = parts_frame(profiles)
    order = [name for name in dict.fromkeys(frame["part"]) if name != OTHER] + [OTHER]
    side_by_side = pd.DataFrame({"part": order})
    for name, rows in frame.groupby("model", sort=False):
        own = rows.set_index("part").reindex(order)
        for column in ("ms", "share of time", "GMACs"):
            side_by_side[f"{name}, {column}" if len(profiles) > 1 else column] = own[column].to_numpy()
    return side_by_side


def tables(profiles: Sequence[Profiled]) -> list["Table"]:
    """Lay out the three tables for a terminal."""
    return [_table(*one) for one in _frames(profiles)]


def markdown(profiles: Sequence[Profiled]) -> str:
    """Give the three tables in Markdown."""
    return "\n".join(
        f"## {title}\n\n{caption}\n\n{padded_markdown(_texts(frame), texts=TEXTS)}"
        for frame, title, caption in _frames(profiles)
    )


def _frames(profiles: Sequence[Profiled]) -> list[tuple[pd.DataFrame, str, str]]:
    """Give each table with its title and what stands below it."""
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


def _table(frame: pd.DataFrame, title: str, caption: str) -> "Table":
    from rich.table import Table

    table = Table(title=title, caption=caption)
    for name in frame.columns:
        is_text = name in TEXTS
        # On a narrow terminal long headings are folded, before names are cut.
        justify: Literal["left", "right"] = "left" if is_text else "right"
        table.add_column(name, justify=justify, no_wrap=is_text, overflow="fold")
    for row in _texts(frame).itertuples(index=False):
        table.add_row(*row)
    return table


def _texts(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({name: [_cell(name, value) for value in frame[name]] for name in frame.columns})


def _cell(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return "out of memory" if name == "ms/batch" else NOTHING
    if name.endswith("share of time"):
        return f"{100 * value:.1f} %"
    if isinstance(value, int):
        return f"{value:,}"
    return shown(value)


def shown(value: float) -> str:
    """Say a number as people read it: three digits, or all that stand before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _per_picture(cost: Cost) -> float | None:
    first = cost.speeds[0]
    return None if first.milliseconds_per_batch is None else first.milliseconds_per_batch / first.batch_size
