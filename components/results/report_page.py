"""The report's page: evaluations with their profiles, pictures and loss curves, in one HTML file."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cascade_core.checkpoints.manifest import load_manifest
from cascade_core.configs.recipes import METHOD_NAMES
from cascade_core.errors import UserError
from cascade_core.runtime.listing import brief, shortened
from cascade_core.runtime.targets import MANIFEST_FILE
from components.artifacts.manifest import StepManifest, git_commit, read_step_manifest
from components.results import confused_pairs, picture_rows
from components.results.fit_charts import charts
from components.results.names import HISTORY_FILE, SCORES, SCORES_FILE, file_stem
from components.results.pages import Curve, data_address, fill_template, line_chart
from components.results.rows import BenchmarkRow, Summary, run_names, summaries, thousands
from components.results.step_files import read_profile, read_scores
from components.results.tables import read_classes, read_table
from components.results.thresholds_file import Thresholds
from components.tracking.run_results import COMPARISON, CONFUSION

CONFUSION_PICTURE = "confusion.png"
"""An evaluate step's plot of its confusion matrix."""
HEADLINE_FIRST = ("hiou", "miou_seen", "miou_unseen", "pAcc")
"""The order of scores on the page: what methods are compared by comes first, also where a narrow frame cuts a table."""


@dataclass(frozen=True)
class ReportEntry:
    """One evaluation with everything that the page shows of it.

    Attributes:
        classes: IoU of every class, from `per_class.csv`.
        confusion: data URL of the confusion matrix's plot, if there is one.
        scores: the content of `scores.json`.
        manifest: the manifest of the folder, if there is one.
    """

    folder: Path

    row: BenchmarkRow
    num_pictures: int
    data_hash: str
    classes: pd.DataFrame
    confusion: str | None
    profile: Path
    scores: Mapping[str, Any]
    manifest: StepManifest | None

    @property
    def title(self) -> str:
        return run_title(self.row.method, self.row.setting)

    @property
    def provenance(self) -> dict[str, Any]:
        """What the scores were made from; a field that the evaluation does not record is None."""
        manifest = self.manifest
        checkpoint = manifest and manifest.inputs.get("checkpoint")
        return {
            "checkpoint": checkpoint.sha256 if checkpoint else None,
            "commit": manifest.commit if manifest else None,
            "torch": manifest.packages.get("torch") if manifest else None,
            "python": manifest.python if manifest else None,
            "seen_penalty": self.scores.get("seen_penalty"),
            "data_hash": self.data_hash,
            "pictures": self.num_pictures,
        }


def facts_in_common(entries: Sequence[ReportEntry]) -> dict[str, str]:
    """Return the split and the data hash, each only if all evaluations share it."""
    facts = {
        "split": {entry.row.split for entry in entries},
        "data_hash": {entry.data_hash for entry in entries},
    }
    return {name: values.pop() for name, values in facts.items() if len(values) == 1}


def run_title(method: str, setting: str) -> str:
    """Name a run for people."""
    return ", ".join(run_names(method, setting))


def profiles_by_method(profiles: Sequence[Path]) -> dict[str, Path]:
    """Map each method to the profile step's folder that measured it.

    Raises:
        UserError: a folder names no method.
    """
    by_method = {}
    for folder in profiles:
        by_method[read_profile(folder, "method")["method"]] = folder
    return by_method


def report_entry(folder: Path, profiles: Mapping[str, Path]) -> ReportEntry:
    """Read the folder of an evaluate step, with the profile of its method.

    Raises:
        UserError: no profile is of its method, or a file is missing or broken.
    """
    scores = read_scores(folder, "method", "num_pictures", "data_hash")
    method = scores["method"]
    if method not in profiles:
        raise UserError(
            f"{folder / SCORES_FILE}: no profile of method {brief(method)} was given, only of "
            f"{shortened(', '.join(profiles)) or 'none'}; run the profile step for it"
        )
    confusion = folder / CONFUSION_PICTURE
    return ReportEntry(
        folder=folder,
        row=BenchmarkRow.read(folder, profiles[method]),
        num_pictures=scores["num_pictures"],
        data_hash=scores["data_hash"],
        classes=read_classes(folder),
        confusion=data_address(confusion.read_bytes(), "png") if confusion.is_file() else None,
        profile=profiles[method],
        scores=scores,
        manifest=read_step_manifest(folder) if (folder / MANIFEST_FILE).is_file() else None,
    )


def curve_of(folder: Path, colour: str) -> Curve:
    """Read the loss curve in a training step's folder.

    Raises:
        UserError: the folder holds no history or no checkpoint.
    """
    manifest = load_manifest(folder / "final")
    history = read_table(folder / HISTORY_FILE, numbers=("iteration", "loss"), step="a training step")
    return Curve(
        title=run_title(manifest.config.method, manifest.setting),
        points=tuple(zip(history["iteration"].astype(float), history["loss"].astype(float), strict=True)),
        colour=colour,
        dashed=manifest.setting.startswith("transductive"),
    )


def page(entries: Sequence[ReportEntry], curves: Sequence[Curve], fits: Sequence[Thresholds] = ()) -> str:
    """Fill the page; the HTML needs no other file."""
    rows = [entry.row for entry in entries]
    table, firsts = summaries(rows), _first_of_each_title(entries)
    matrices = [shares for one in firsts if (shares := confused_pairs.shares_of(*one))]
    return fill_template(
        "report.html",
        protocols=_unique(row.measured_by for row in rows),
        splits=_unique(row.split for row in rows),
        seeds=_unique(row.seed for row in rows),
        num_pictures=_unique(entry.num_pictures for entry in entries),
        data_hashes=_unique(entry.data_hash for entry in entries),
        commit=git_commit(),
        scores={name: SCORES[name] for name in HEADLINE_FIRST},
        table=table,
        best=best_means(table),
        run_names=run_names,
        thousands=thousands,
        evaluated=entries,
        class_groups=_class_groups(entries),
        loss_chart=(
            line_chart(curves, x_title="iteration", y_title="training loss", numbered=len(curves) > 1)
            if curves
            else ""
        ),
        curves=curves,
        costs=cost_section(_unique(entry.profile for entry in entries)),
        pictures=picture_rows.section_of(firsts),
        fits=[(fit, charts(fit)) for fit in fits],
        confused=confused_pairs.section_of(matrices),
    )


def write_pictures(folder: Path, entries: Sequence[ReportEntry]) -> list[str]:
    """Write the page's pictures as files, in the folders `comparison` and `confusion`; return the names of those made.

    Raises:
        UserError: a file of an evaluation is broken.
    """
    firsts = _first_of_each_title(entries)
    made: list[str] = []
    for name, picture in picture_rows.sheets_of(firsts):
        target = folder / COMPARISON / f"{name}.png"
        target.parent.mkdir(exist_ok=True)
        picture.quantize(256).save(target, format="PNG", optimize=True)
        made.append(COMPARISON)
    for evaluation, title in firsts:
        if (matrix := evaluation / CONFUSION_PICTURE).is_file():
            target = folder / CONFUSION / f"{file_stem(title)}.png"
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(matrix, target)
            made.append(CONFUSION)
    return sorted(set(made))


def cost_section(profiles: Sequence[Path]) -> dict[str, Any]:
    """Return the rows of both tables for the profile steps' folders; {} if no profile has a breakdown.

    The part with the largest share of any model's time comes first; a model without that part has None.

    Raises:
        UserError: a profile is missing or broken.
    """
    costs = [cost for cost in map(read_profile, profiles) if "breakdown" in cost]
    return _section(costs) if costs else {}


def best_means(table: Sequence[Summary]) -> dict[str, float]:
    """Return the highest mean of each score; controls, which are meant to fail, do not compete."""
    rivals = [summary.mean for summary in table if not summary.first.setting.startswith("control")]
    means = {score: [mean for rival in rivals if (mean := rival[score]) is not None] for score in SCORES}
    return {score: max(values) for score, values in means.items() if values}


def _section(costs: list[dict[str, Any]]) -> dict[str, Any]:
    shares = [_shares(cost["breakdown"]) for cost in costs]
    parts = dict.fromkeys(name for share in shares for name in share)
    largest = {name: max(share[name]["share"] for share in shares if name in share) for name in parts}
    return {
        "counter": costs[0]["gmacs_counted_by"],
        "memory": costs[0]["peak_memory_measured_by"],
        "models": [_model(cost) for cost in costs],
        "cases": [_case(cost, speed) for cost in costs for speed in cost["speeds"]],
        "parts": [
            (name, [share.get(name) for share in shares])
            for name in sorted(parts, key=lambda name: -largest[name])
        ],
    }


def _model(cost: dict[str, Any]) -> dict[str, Any]:
    parts = cost["breakdown"]
    return {
        "name": METHOD_NAMES.get(cost["method"], cost["method"]),
        "where": f"{cost['device']}, {cost['threads']} threads",
        "total": f"{parts['milliseconds']:,.3g} ms, batch {parts['batch_size']} of {parts['image_size']} px",
    }


def _case(cost: dict[str, Any], speed: dict[str, Any]) -> dict[str, Any]:
    quartiles = speed["milliseconds_quartiles"]
    return {
        "name": METHOD_NAMES.get(cost["method"], cost["method"]),
        **speed,
        "quartiles": "-" if quartiles is None else " to ".join(f"{value:,.3g}" for value in quartiles),
    }


def _shares(breakdown: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {
        part["name"]: {"share": part["milliseconds"] / breakdown["milliseconds"], "gmacs": part["gmacs"]}
        for part in breakdown["parts"]
    }


def _class_groups(entries: Sequence[ReportEntry]) -> list[dict[str, Any]]:
    """Tabulate every class's IoU in every evaluation: unseen classes first, the best of each group on top."""
    merged = pd.concat(
        [item.classes.set_index(["group", "class"])["iou"].rename(str(i)) for i, item in enumerate(entries)],
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


def _first_of_each_title(entries: Sequence[ReportEntry]) -> list[tuple[Path, str]]:
    """Return folder and title of the evaluations, without those of a title that came before, such as other seeds."""
    firsts: dict[str, Path] = {}
    for entry in entries:
        firsts.setdefault(entry.title, entry.folder)
    return [(folder, title) for title, folder in firsts.items()]


def _unique(values: Any) -> list[Any]:
    return list(dict.fromkeys(values))
