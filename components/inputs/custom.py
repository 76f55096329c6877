"""Check a data set of the user's own: pair pictures with label maps or files of objects, and count pixels."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cascade_core.data.examine import Candidate, Examined, Problem, copies_across_splits, examine_all
from cascade_core.data.index import COLUMNS
from cascade_core.data.own_layout import assigned, pictures_below
from cascade_core.data.picture_names import by_name, comparable, log_skipped
from cascade_core.data.prepared import data_sha256
from cascade_core.errors import UserError
from cascade_core.labels.label_file import LabelFile
from cascade_core.labels.label_set import BACKGROUND, IGNORE, LabelSet
from cascade_core.runtime.listing import bullets
from cascade_core.runtime.walking import visible_below
from components.pictures.draw_objects import draw_objects
from components.pictures.label_maps import maps_of_colours
from components.progress import progress

IGNORED = "ignored"


@dataclass(frozen=True)
class Source:
    """The folders and files of a data set, and its splits (see `own_layout.assigned`).

    Labels are either PNGs in `maps`, at the same relative paths as the pictures, or files of objects (COCO,
    CVAT, Label Studio or GeoJSON): one per split, or
    one for all, under the name "".
    """

    images: Path
    maps: Path | None = None
    map_suffix: str = ".png"
    annotations: Mapping[str, Path] | None = None
    other_categories: bool = False
    splits: Mapping[str, str] | None = None
    held_out: Mapping[str, float] | None = None
    seed: int = 0


@dataclass(frozen=True)
class CheckedDataSet:
    """The good pictures of a data set, the names of its splits, and the problems of other pictures."""

    own: LabelFile
    pictures: Sequence[Examined]
    splits: Sequence[str]
    problems: tuple[Problem, ...]

    @property
    def index(self) -> pd.DataFrame:
        """The index, with a row per good picture."""
        return pd.DataFrame([picture.row for picture in self.pictures], columns=list(COLUMNS))

    def of_split(self, split: str) -> list[Examined]:
        """Return the good pictures of a split."""
        return [picture for picture in self.pictures if picture.row["split"] == split]


def problem_text(
    images: Path,
    problems: Sequence[Problem],
    *,
    remedy: str = "mend them, or leave those pictures out: --leave-out",
) -> str:
    """Format problems as a message: their number by kind, the remedy, and the first of them."""
    kinds = Counter(problem.kind for problem in problems).items()
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds)
    return f"data set {images}: {counts}; {remedy}{bullets([problem.text for problem in problems])}"


def resolve(source: Source) -> Source:
    """Check that the arguments fit together, and return the source with absolute folders.

    Raises:
        UserError: there is not exactly one source of labels, splits are stated twice, or the maps do not exist.
    """
    if (source.maps is None) == (not source.annotations):
        raise UserError(
            "labels come from a folder of label maps or from files of objects: give exactly one of them (--maps, --annotations)"
        )
    if source.annotations and "" in source.annotations and len(source.annotations) > 1:
        raise UserError(
            "files of objects are given with and without a split; name the split of each: --annotations val=FILE"
        )
    if source.annotations and "" not in source.annotations and (source.splits or source.held_out):
        raise UserError(
            "every file of objects has a split already (--annotations SPLIT=FILE); leave out --split and --hold-out"
        )
    if source.maps is not None and not source.maps.is_dir():
        raise UserError(f"label map folder {source.maps} does not exist; give the folder that holds the PNGs")
    maps = None if source.maps is None else source.maps.resolve()
    return replace(source, images=source.images.resolve(), maps=maps)


def root_of(source: Source, own: LabelFile, out: Path) -> Path:
    """Return the folder that paths in the index are relative to: the innermost one with pictures and label maps.

    Those of annotations, or of maps in colours, are written below `out`.
    """
    maps = None if own.map_colours else source.maps
    return Path(os.path.commonpath([source.images, out if maps is None else maps]))


def _candidates(
    source: Source, own: LabelFile, folder: Path, out: Path
) -> tuple[list[Candidate], list[Problem]]:
    """Pair pictures with label maps; draw those of files of objects into `folder`, which is later renamed to `out`."""
    root = root_of(source, own, out)
    assign = partial(assigned, given=source.splits or {}, held_out=source.held_out or {}, seed=source.seed)
    if source.annotations:
        return draw_objects(
            source.annotations,
            own,
            images=source.images,
            assign=assign,
            other_categories=source.other_categories,
            folder=folder,
            out=out,
            root=root,
        )
    assert source.maps is not None
    pictures = pictures_below(source.images, maps=source.maps, map_suffix=source.map_suffix)
    labels = by_name(visible_below(source.maps), comparable)
    candidates = []
    for split, names in assign(list(pictures)).items():
        for name in names:
            alike = labels.pop(comparable(f"{name}{source.map_suffix}"), [f"{name}{source.map_suffix}"])
            if len(alike) > 1:
                raise UserError(f"{source.maps}: {' and '.join(alike)} stand for one name; keep one of them")
            label = source.maps / alike[0]
            candidates.append(
                Candidate(
                    name.replace("/", "_"),
                    split,
                    pictures[name],
                    label,
                    pictures[name].relative_to(root).as_posix(),
                    os.path.relpath(label, root) if own.map_colours else label.relative_to(root).as_posix(),
                )
            )
    used = {candidate.image_path for candidate in candidates}
    unused = [name for name, path in pictures.items() if path not in used]
    log_skipped(source.images, unused, "because they are in no split")
    for name in unused:
        labels.pop(comparable(f"{name}{source.map_suffix}"), None)
    images = set(pictures.values())
    extra = [name for name in chain(*labels.values()) if source.maps / name not in images]
    log_skipped(source.maps, extra, "because they are no picture's label map")
    if own.map_colours:
        return maps_of_colours(candidates, own, folder=folder, out=out, root=root)
    return candidates, []


def _same_names(candidates: Sequence[Candidate]) -> list[Problem]:
    """Return a problem for each picture whose name in the index is taken; a/b and a_b have the same name."""
    first: dict[str, Candidate] = {}
    problems = []
    for candidate in candidates:
        other = first.setdefault(candidate.name, candidate)
        if other.image != candidate.image:
            text = f"{candidate.image}: named {candidate.name}, as {other.image} is; rename one of them"
            problems.append(Problem(candidate.name, candidate.image, candidate.split, "duplicate", text))
    return problems


def check(source: Source, own: LabelFile, *, folder: Path, out: Path, leave_out: bool) -> CheckedDataSet:
    """Read every picture and label map; draw objects into `folder`, which is later renamed to `out`.

    Raises:
        UserError: pictures have problems and `leave_out` is False, or a split has no good picture.
    """
    candidates, problems = _candidates(source, own, folder, out)
    splits = list(dict.fromkeys([item.split for item in candidates] + [item.split for item in problems]))
    with progress(f"check {own.name}") as bar:
        results = examine_all(
            candidates, own.label_set(), progress=lambda done, total: bar.advance(done, total=total)
        )
    examined = [result for result in results if isinstance(result, Examined)]
    broken = [result for result in results if isinstance(result, Problem)]
    problems = [*problems, *_same_names(candidates), *broken, *copies_across_splits(examined, splits)]
    if problems and not leave_out:
        raise UserError(problem_text(source.images, problems))
    bad = {(problem.split, problem.image) for problem in problems}
    good = [picture for picture in examined if (picture.row["split"], picture.row["image"]) not in bad]
    data = CheckedDataSet(own, good, splits, tuple(problems))
    for split in splits:
        if not data.of_split(split):
            raise UserError(f"split {split!r} has no picture left; {problem_text(source.images, problems)}")
    return data


def summary_of(data: CheckedDataSet) -> dict[str, Any]:
    """Count pictures and pixels of every class in every split, and list the pictures that were left out."""
    own, index = data.own, data.index
    label_set = own.label_set()
    splits = {split: _counts(data.of_split(split), own, label_set) for split in data.splits}
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
            for split in data.splits
        },
        "left_out": [asdict(problem) for problem in data.problems],
    }


def _counts(examined: Sequence[Examined], own: LabelFile, label_set: LabelSet) -> dict[str, Any]:
    """Count pictures and pixels of every class, and pixels of background and ignored ones."""
    pictures = Counter(train_id for picture in examined for train_id in picture.row["classes"])
    raw: Counter[int] = Counter()
    for picture in examined:
        raw.update(picture.raw_pixels)
    pixels = {name: raw[own.ids[i]] for i, name in enumerate(label_set.classes)}
    background = sum(raw[i] for i in label_set.background_ids)
    return {
        "pictures": len(examined),
        "pictures_with_class": {name: pictures[i] for i, name in enumerate(label_set.classes)},
        "pixels": pixels,
        "other_pixels": {
            **({} if own.background is None else {BACKGROUND: background}),
            IGNORED: sum(raw[i] for i in np.flatnonzero(label_set.table == IGNORE).tolist()) - background,
        },
    }
