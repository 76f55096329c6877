"""Step: check a data set of one's own, label maps or COCO annotations, and write the index that later steps read."""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cascade_core.data.examine import Candidate, Examined, Problem, copies_across_splits, examine_all
from cascade_core.data.index import COLUMNS
from cascade_core.data.own_layout import assigned, pictures_below
from cascade_core.data.prepared import INDEX_FILE, SUMMARY_FILE
from cascade_core.errors import UserError
from cascade_core.labels.label_file import LabelFile, read_label_file
from cascade_core.labels.label_set import BACKGROUND, IGNORE, LabelSet
from cascade_core.runtime.files import new_folder, write_json
from cascade_core.runtime.listing import bullets
from components.artifacts import write_manifest
from components.inputs.indexing import data_sha256
from components.pictures.draw_coco import CocoSource, draw_coco
from components.progress import progress

log = logging.getLogger(__name__)

IGNORED = "ignored"


@dataclass(frozen=True)
class Source:
    """Where pictures and their labels are, and which picture is of which split (see `own_layout.assigned`).

    Labels are either the PNGs in `maps`, at the same paths as the pictures, or COCO files: one for each split,
    or one (under the name "") for all.
    """

    images: Path
    maps: Path | None = None
    map_suffix: str = ".png"
    coco: Mapping[str, Path] | None = None
    other_categories: bool = False
    splits: Mapping[str, str] | None = None
    held_out: Mapping[str, float] | None = None
    seed: int = 0


@dataclass(frozen=True)
class CustomPrepared:
    """Where the index lies, what `summary.json` says of it, and which pictures were left out and why."""

    index: Path
    summary: Mapping[str, Any]
    left_out: tuple[Problem, ...]


def run(*, labels: Path, source: Source, out: Path, leave_out: bool = False) -> CustomPrepared:
    """Check all of a data set, then write `index.parquet`, `summary.json` and a manifest into `out`.

    The summary counts pictures and pixels of every class in every split. COCO annotations are drawn into label
    maps below `out`. A picture with something wrong does not end the check; with `leave_out` it is left out of
    the index and named in the summary, else nothing is written. Of copies in two splits the one in the later
    split stays, of pictures that would be named alike (a/b and a_b) the first.

    Raises:
        UserError: the label file is wrong, splits cannot be made, pictures have problems (the first ten are
            told, all are counted), or a split is empty.
    """
    own = read_label_file(labels)
    source, out = _placed(source), out.resolve()
    label_set = own.label_set()
    with new_folder(out) as folder:
        candidates, problems = _candidates(source, own, folder, out)
        order = list(dict.fromkeys([one.split for one in candidates] + [one.split for one in problems]))
        examined, problems = _checked(candidates, problems, order, own)
        if problems and not leave_out:
            raise UserError(told(source.images, problems))
        bad = {(problem.split, problem.image) for problem in problems}
        kept = [one for one in examined if (one.row["split"], one.row["image"]) not in bad]
        _check_splits(kept, order, problems, source.images)
        index = pd.DataFrame([one.row for one in kept], columns=list(COLUMNS))
        summary = _summary(own, label_set, kept, order, index, problems)
        index.to_parquet(folder / INDEX_FILE, index=False)
        write_json(folder / SUMMARY_FILE, summary)
        write_manifest(
            folder,
            step="prepare",
            inputs={"raw": _root(source, out), "labels": labels},
            parameters={"protocol": own.protocol, "seed": source.seed, "leave_out": leave_out},
            hashes={"raw": summary["data_sha256"]},
        )
    log.info(
        "prepared %s: %s", own.protocol, ", ".join(f"{len(_of(kept, split))} {split}" for split in order)
    )
    return CustomPrepared(out / INDEX_FILE, summary, tuple(problems))


def told(
    images: Path,
    problems: Sequence[Problem],
    *,
    then: str = "mend them, or leave those pictures out: --leave-out",
) -> str:
    """Say how many problems of which kind there are, what is to be done, and the first of them."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(one.kind for one in problems).items())
    return f"data set {images}: {kinds}; {then}{bullets([problem.text for problem in problems])}"


def _placed(source: Source) -> Source:
    """Give the source with its folders resolved, checked for what no file needs to be read."""
    if (source.maps is None) == (not source.coco):
        raise UserError(
            "labels come from a folder of label maps or from COCO files: give exactly one of them (--maps, --coco)"
        )
    if source.maps is not None and not source.maps.is_dir():
        raise UserError(f"label map folder {source.maps} does not exist; give the folder that holds the PNGs")
    maps = None if source.maps is None else source.maps.resolve()
    return replace(source, images=source.images.resolve(), maps=maps)


def _root(source: Source, out: Path) -> Path:
    """Give the folder that the index's paths are relative to: the innermost that holds pictures and maps."""
    return Path(os.path.commonpath([source.images, out if source.maps is None else source.maps]))


def _candidates(
    source: Source, own: LabelFile, folder: Path, out: Path
) -> tuple[list[Candidate], list[Problem]]:
    """Pair pictures with label maps, those of COCO files drawn into `folder`, which becomes `out`."""
    root = _root(source, out)
    splits, held_out = source.splits or {}, source.held_out or {}
    if source.coco:
        request = CocoSource(
            source.images, source.coco, splits, held_out, source.seed, source.other_categories
        )
        return draw_coco(request, own, folder=folder, out=out, root=root)
    assert source.maps is not None
    pictures = pictures_below(source.images)
    candidates = []
    for split, names in assigned(list(pictures), given=splits, held_out=held_out, seed=source.seed).items():
        for name in names:
            label = source.maps / f"{name}{source.map_suffix}"
            candidates.append(
                Candidate(
                    name.replace("/", "_"),
                    split,
                    pictures[name],
                    label,
                    pictures[name].relative_to(root).as_posix(),
                    label.relative_to(root).as_posix(),
                )
            )
    return candidates, []


def _same_names(candidates: Sequence[Candidate]) -> list[Problem]:
    """Tell of pictures that would be named alike, as a/b and a_b."""
    first: dict[str, Candidate] = {}
    problems = []
    for one in candidates:
        other = first.setdefault(one.name, one)
        if other.image != one.image:
            text = f"{one.image}: named {one.name}, as {other.image} is; rename one of them"
            problems.append(Problem(one.name, one.image, one.split, "duplicate", text))
    return problems


def _checked(
    candidates: Sequence[Candidate], problems: Sequence[Problem], order: Sequence[str], own: LabelFile
) -> tuple[list[Examined], list[Problem]]:
    """Look at every candidate; give the good ones, and all problems with those there were before."""
    with progress(f"check {own.name}") as bar:
        found = examine_all(
            candidates, own.label_set(), progress=lambda done, total: bar.advance(done, total=total)
        )
    examined = [one for one in found if isinstance(one, Examined)]
    broken = [one for one in found if isinstance(one, Problem)]
    copies = copies_across_splits(examined, order)
    return examined, [*problems, *_same_names(candidates), *broken, *copies]


def _check_splits(
    kept: Sequence[Examined], order: Sequence[str], problems: Sequence[Problem], images: Path
) -> None:
    for split in order:
        if not _of(kept, split):
            raise UserError(f"split {split!r} has no picture left; {told(images, problems)}")


def _summary(
    own: LabelFile,
    label_set: LabelSet,
    kept: Sequence[Examined],
    order: Sequence[str],
    index: pd.DataFrame,
    problems: Sequence[Problem],
) -> dict[str, Any]:
    splits = {split: _counts(_of(kept, split), own, label_set) for split in order}
    return {
        "protocol": own.protocol,
        "label_set": label_set.name,
        "data_sha256": data_sha256(index),
        "splits": splits,
        "empty_classes": {
            split: [name for name, count in counts["pictures_with_class"].items() if not count]
            for split, counts in splits.items()
        },
        "copies_within_splits": {
            split: int(index.loc[index["split"] == split, "image_sha256"].duplicated().sum())
            for split in order
        },
        "left_out": [asdict(problem) for problem in problems],
    }


def _counts(examined: Sequence[Examined], own: LabelFile, label_set: LabelSet) -> dict[str, Any]:
    """Count pictures and pixels of every class; background and ignored pixels stand beside the classes."""
    shown = Counter(train for one in examined for train in one.row["classes"])
    raw: Counter[int] = Counter()
    for one in examined:
        raw.update(one.raw_pixels)
    pixels = {name: raw[own.ids[i]] for i, name in enumerate(label_set.classes)}
    background = sum(raw[i] for i in label_set.background_ids)
    return {
        "pictures": len(examined),
        "pictures_with_class": {name: shown[i] for i, name in enumerate(label_set.classes)},
        "pixels": pixels,
        "other_pixels": {
            BACKGROUND: background,
            IGNORED: sum(raw[i] for i in np.flatnonzero(label_set.table == IGNORE).tolist()) - background,
        },
    }


def _of(kept: Sequence[Examined], split: str) -> list[Examined]:
    return [one for one in kept if one.row["split"] == split]
