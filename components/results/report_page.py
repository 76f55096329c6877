"""The content of a report: evaluations with their profiles and curves, and one page to look at.

The page is one file that needs nothing else: styles, plots and pictures are inside.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from cascade_core.checkpoints.manifest import load_manifest
from cascade_core.configs.recipes import METHOD_NAMES
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json
from components.artifacts import git_commit
from components.results.charts import Curve, line_chart
from components.results.names import HISTORY_FILE, PROFILE_FILE, SCORES_FILE
from components.results.pages import filled
from components.results.profile_section import cost_section
from components.results.rows import (
    SCORES,
    SETTING_NAMES,
    BenchmarkRow,
    Summary,
    benchmark_row,
    summaries,
    thousands,
)
from components.tables import read_table

PICTURE_QUALITY = 88


@dataclass(frozen=True)
class Evaluated:
    """One evaluation with all that the page shows of it."""

    row: BenchmarkRow
    num_pictures: int
    data_hash: str
    classes: pd.DataFrame
    confusion: str | None
    profile: Path
    pictures: Mapping[str, str]

    @property
    def title(self) -> str:
        return run_title(self.row.method, self.row.setting)


def facts_in_common(evaluated: Sequence[Evaluated]) -> dict[str, str]:
    """Give what all evaluations have in common of split and data, and nothing of what they have not."""
    known = {
        "split": _distinct(one.row.split for one in evaluated),
        "data_hash": _distinct(one.data_hash for one in evaluated),
    }
    return {name: values[0] for name, values in known.items() if len(values) == 1}


def run_title(method: str, setting: str) -> str:
    """Name a run as people read it."""
    return f"{METHOD_NAMES.get(method, method)}, {SETTING_NAMES.get(setting, setting)}"


def profiles_by_method(profiles: Sequence[Path]) -> dict[str, Path]:
    """Give the folders of profile steps by the method they measured.

    Raises:
        UserError: a folder names no method.
    """
    by_method = {}
    for folder in profiles:
        method = read_json(folder / PROFILE_FILE).get("method")
        if method is None:
            raise UserError(f"{folder / PROFILE_FILE}: field method is missing; run the profile step again")
        by_method[method] = folder
    return by_method


def evaluated_in(folder: Path, profiles: Mapping[str, Path]) -> Evaluated:
    """Read the folder of an evaluate step, with the profile of its method.

    Raises:
        UserError: no profile is of its method, or a file is missing or broken.
    """
    scores = read_json(folder / SCORES_FILE)
    method = scores.get("method")
    if method not in profiles:
        raise UserError(
            f"{folder / SCORES_FILE}: no profile of method {method!r} was given, only of "
            f"{', '.join(profiles) or 'none'}; run the profile step for it"
        )
    confusion = folder / "confusion.png"
    return Evaluated(
        row=benchmark_row(folder, profiles[method]),
        num_pictures=scores["num_pictures"],
        data_hash=scores["data_hash"],
        classes=read_table(folder / "per_class.csv", step="an evaluate step"),
        confusion=_inlined(confusion.read_bytes(), "png") if confusion.is_file() else None,
        profile=profiles[method],
        pictures=pictures_of(folder / "pictures"),
    )


def pictures_of(folder: Path) -> dict[str, str]:
    """Give the panels of an evaluation by the names of their pictures, which may hold folders."""
    return {
        path.relative_to(folder).with_suffix("").as_posix(): _as_webp(path)
        for path in sorted(folder.rglob("*.png"))
    }


def curve_of(folder: Path, colour: str) -> Curve:
    """Read the loss curve of a training step's folder.

    Raises:
        UserError: the folder holds no history or no checkpoint.
    """
    manifest = load_manifest(folder / "final")
    history = read_table(folder / HISTORY_FILE, step="a training step")
    return Curve(
        title=run_title(manifest.config.method, manifest.setting),
        points=tuple(zip(history["iteration"].astype(float), history["loss"].astype(float), strict=True)),
        colour=colour,
        dashed=manifest.setting.startswith("transductive"),
    )


def page(evaluated: Sequence[Evaluated], curves: Sequence[Curve]) -> str:
    """Return the page as HTML that needs no other file."""
    rows = [one.row for one in evaluated]
    table = summaries(rows)
    return filled(
        "report.html",
        protocols=_distinct(row.measured_by for row in rows),
        splits=_distinct(row.split for row in rows),
        seeds=_distinct(row.seed for row in rows),
        num_pictures=_distinct(one.num_pictures for one in evaluated),
        data_hashes=_distinct(one.data_hash for one in evaluated),
        commit=git_commit(),
        scores=SCORES,
        table=table,
        best=best_means(table),
        run_title=run_title,
        method_names=METHOD_NAMES,
        setting_names=SETTING_NAMES,
        thousands=thousands,
        evaluated=evaluated,
        class_groups=_class_groups(evaluated),
        loss_chart=line_chart(curves, x_title="iteration", y_title="training loss") if curves else "",
        curves=curves,
        costs=cost_section(dict.fromkeys(one.profile for one in evaluated)),
        pictures=_distinct(name for one in evaluated for name in one.pictures),
    )


def best_means(table: Sequence[Summary]) -> dict[str, float]:
    """Give the highest mean of each score; controls, which are meant to fail, do not compete."""
    known: dict[str, list[float]] = {score: [] for score in SCORES}
    for summary in table:
        for score, mean in summary.mean.items():
            if mean is not None and not summary.first.setting.startswith("control"):
                known[score].append(mean)
    return {score: max(means) for score, means in known.items() if means}


def _class_groups(evaluated: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """Give the IoU of every class in every evaluation: unseen classes first, the best found ones on top."""
    merged = pd.concat(
        [one.classes.set_index(["group", "class"])["iou"].rename(str(i)) for i, one in enumerate(evaluated)],
        axis=1,
    )
    merged = merged.loc[merged.mean(axis=1).sort_values(ascending=False, kind="stable").index]
    groups = []
    for group in ("unseen", "seen"):
        part = merged[merged.index.get_level_values("group") == group]
        lines = [
            {"name": str(index[1]), "values": [None if pd.isna(value) else float(value) for value in values]}
            for index, values in zip(part.index, part.to_numpy(), strict=True)
        ]
        if lines:
            groups.append({"name": group, "lines": lines})
    return groups


def _distinct(values: Any) -> list[Any]:
    return list(dict.fromkeys(values))


def _as_webp(path: Path) -> str:
    """Give a picture in a form small enough to put many on one page."""
    content = io.BytesIO()
    with Image.open(path) as picture:
        picture.convert("RGB").save(content, format="WEBP", quality=PICTURE_QUALITY)
    return _inlined(content.getvalue(), "webp")


def _inlined(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
