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
LABELLED_CLASSES = 64
"""Heat maps of more classes carry no class names: they could not be read."""


def per_class_table(scores: Scores, split: ClassSplit, confusion: ConfusionMatrix) -> pd.DataFrame:
    """Give a row per class, seen ones first: class, group, iou, accuracy, pixels, predicted, confused_with.

    `pixels` counts the true pixels, `predicted` those given to the class; `confused_with` names the class
    that takes most of its pixels wrongly, or is empty.
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


def summary_table(named_scores: dict[str, Scores]) -> pd.DataFrame:
    """Give a row per entry with protocol, pAcc, mIoU(S), mIoU(U) and hIoU, as fractions."""
    fields = ("protocol", "pAcc", "miou_seen", "miou_unseen", "hiou")
    rows = [
        {"name": name, **{field: getattr(s, field) for field in fields}} for name, s in named_scores.items()
    ]
    return pd.DataFrame(rows, columns=["name", *fields])


def plot_per_class(table: pd.DataFrame, path: Path, *, title: str) -> None:
    """Draw the IoU of every class as bars, the best first within each group, and write a PNG."""
    ordered = pd.concat(
        [part.sort_values("iou", ascending=False) for _, part in table.groupby("group", sort=True)]
    ).reset_index(drop=True)
    # Many classes share a bounded width, with names just large enough to be read when enlarged.
    figure = _figure(width=max(6.0, min(24.0, 1.5 + 0.28 * len(ordered))), height=4.2)
    axes = figure.subplots()
    for group, part in ordered.groupby("group"):
        mean = part["iou"].mean()
        shown = "-" if math.isnan(mean) else f"{mean:.3f}"
        colour = COLOURS[str(group)]
        axes.bar(part.index, part["iou"].fillna(0), color=colour, label=f"{group}: mean {shown}")
        axes.hlines(mean, part.index.min() - 0.5, part.index.max() + 0.5, colors="black", linestyles="dotted")
    names, size = ordered["class"].tolist(), 10 if len(ordered) <= LABELLED_CLASSES else 6
    axes.set_xticks(ordered.index, names, rotation=60, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set(ylim=(0, 1), xlim=(-0.6, len(ordered) - 0.4), ylabel="IoU", title=title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def plot_confusion(confusion: ConfusionMatrix, split: ClassSplit, path: Path, *, title: str) -> None:
    """Draw where the pixels of each class go, as shares of the class, unseen classes last, and write a PNG.

    A row without pixels is left blank.
    """
    order = [*split.seen, *split.unseen]
    counts = confusion.counts.numpy()[np.ix_(order, order)].astype(float)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
    side = min(14.0, 3.5 + 0.22 * len(order))
    figure = _figure(width=side + 0.8, height=side)
    axes = figure.subplots()
    drawn = axes.imshow(shares, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    if split.unseen:
        for draw_line in (axes.axhline, axes.axvline):
            draw_line(len(split.seen) - 0.5, color="white", linewidth=1)
    if len(order) <= LABELLED_CLASSES:
        names = [split.classes[i] for i in order]
        axes.set_xticks(range(len(order)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(order)), names, fontsize=7)
        for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
            for tick, i in zip(ticks, order, strict=True):
                tick.set_color(COLOURS["unseen" if i in split.unseen else "seen"])
    axes.set(xlabel="predicted", ylabel="true", title=title)
    figure.colorbar(drawn, ax=axes, shrink=0.8, label="share of the class's pixels")
    figure.savefig(path, dpi=120)


def _most_confused(row: np.ndarray, own: int, classes: tuple[str, ...]) -> str:
    wrong = row.copy()
    wrong[own] = 0
    return classes[int(wrong.argmax())] if wrong.max() > 0 else ""


def _figure(*, width: float, height: float) -> "Figure":
    # Imported here: it costs a second, and a figure made without pyplot needs no display or global state.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
