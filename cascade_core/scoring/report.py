"""Tables and plots of scores: per class, split into seen and unseen."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cascade_core.labels.class_split import ClassSplit
from cascade_core.scoring.confusion import ConfusionMatrix
from cascade_core.scoring.scores import Scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"seen": "#4c72b0", "unseen": "#dd8452"}
MOST_NAMED_CLASSES = 64
"""The most classes that a plot names at a readable size."""


def per_class_table(scores: Scores, split: ClassSplit, confusion: ConfusionMatrix) -> pd.DataFrame:
    """Return a row per class, seen classes first: class, group, iou, accuracy, pixels, predicted, confused_with.

    `pixels` counts the class's true pixels, `predicted` the pixels predicted as the class. `confused_with` names the
    class most often predicted in its place, or is empty.
    """
    counts = confusion.counts
    rows = [
        {
            "class": split.classes[i],
            "group": "unseen" if i in split.unseen else "seen",
            "iou": scores.iou[i],
            "accuracy": scores.accuracy[i],
            "pixels": int(counts[i].sum()),
            "predicted": int(counts[:, i].sum()),
            "confused_with": _most_confused(counts[i].numpy(), i, split.classes),
        }
        for i in (*split.seen, *split.unseen)
    ]
    return pd.DataFrame(rows)


def plot_per_class(table: pd.DataFrame, path: Path, *, title: str) -> None:
    """Write a PNG of every class's IoU as bars, the best first within each group."""
    ordered = pd.concat(
        [part.sort_values("iou", ascending=False) for _, part in table.groupby("group", sort=True)]
    ).reset_index(drop=True)
    # The width is bounded, so the names of many classes are readable only when enlarged.
    figure = _figure(width=max(6.0, min(24.0, 1.5 + 0.28 * len(ordered))), height=4.2)
    axes = figure.subplots()
    for group, part in ordered.groupby("group"):
        mean = part["iou"].mean()
        mean_text = "-" if math.isnan(mean) else f"{mean:.3f}"
        colour = COLOURS[str(group)]
        axes.bar(part.index, part["iou"].fillna(0), color=colour, label=f"{group}: mean {mean_text}")
        axes.hlines(mean, part.index.min() - 0.5, part.index.max() + 0.5, colors="black", linestyles="dotted")
    names, size = ordered["class"].tolist(), 10 if len(ordered) <= MOST_NAMED_CLASSES else 6
    axes.set_xticks(ordered.index, names, rotation=60, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set(ylim=(0, 1), xlim=(-0.6, len(ordered) - 0.4), ylabel="IoU", title=title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def plot_confusion(confusion: ConfusionMatrix, split: ClassSplit, path: Path, *, title: str) -> None:
    """Write a PNG of the confusion matrix, each row as shares of its class's pixels, unseen classes last.

    The row of a class without pixels stays blank.
    """
    order = [*split.seen, *split.unseen]
    counts = confusion.counts.numpy()[np.ix_(order, order)].astype(float)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
    side = min(14.0, 3.5 + 0.22 * len(order))
    figure = _figure(width=side + 0.8, height=side)
    axes = figure.subplots()
    heat_map = axes.imshow(shares, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    if split.unseen:
        for draw_line in (axes.axhline, axes.axvline):
            draw_line(len(split.seen) - 0.5, color="white", linewidth=1)
    if len(order) <= MOST_NAMED_CLASSES:
        names = [split.classes[i] for i in order]
        axes.set_xticks(range(len(order)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(order)), names, fontsize=7)
        for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
            for tick, i in zip(ticks, order, strict=True):
                tick.set_color(COLOURS["unseen" if i in split.unseen else "seen"])
    axes.set(xlabel="predicted", ylabel="true", title=title)
    figure.colorbar(heat_map, ax=axes, shrink=0.8, label="share of the class's pixels")
    figure.savefig(path, dpi=120)


def _most_confused(row: np.ndarray, own: int, classes: tuple[str, ...]) -> str:
    wrong = row.copy()
    wrong[own] = 0
    return classes[int(wrong.argmax())] if wrong.max() > 0 else ""


def _figure(*, width: float, height: float) -> "Figure":
    # Imported here because it takes a second. Without pyplot, a figure needs no display and no global state.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
