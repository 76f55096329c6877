"""A data set of one's own, label maps or COCO annotations: pictures paired, checked and counted."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cascade_core.data.examine import Candidate, Examined, Problem, copies_across_splits, examine_all
from cascade_core.data.index import COLUMNS
from cascade_core.data.own_layout import assigned, pictures_below
from cascade_core.errors import UserError
from cascade_core.labels.label_file import LabelFile
from cascade_core.labels.label_set import BACKGROUND, IGNORE, LabelSet
from cascade_core.runtime.listing import bullets
from components.inputs.indexing import data_sha256
from components.pictures.draw_coco import draw_coco
from components.progress import progress

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
class Checked:
    """The good pictures of a data set, its splits in their order, and what is wrong with other pictures."""

    own: LabelFile
    kept: Sequence[Examined]
    order: Sequence[str]
    problems: tuple[Problem, ...]

    @property
    def index(self) -> pd.DataFrame:
        """The index of the good pictures."""
        return pd.DataFrame([one.row for one in self.kept], columns=list(COLUMNS))


def told(
    images: Path,
    problems: Sequence[Problem],
    *,
    then: str = "mend them, or leave those pictures out: --leave-out",
) -> str:
    """Say how many problems of which kind there are, what is to be done, and the first of them."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(one.kind for one in problems).items())
    return f"data set {images}: {kinds}; {then}{bullets([problem.text for problem in problems])}"


def placed(source: Source) -> Source:
    """Give the source with its folders resolved, checked for what no file needs to be read."""
    if (source.maps is None) == (not source.coco):
        raise UserError(
            "labels come from a folder of label maps or from COCO files: give exactly one of them (--maps, --coco)"
        )
    if source.coco and "" in source.coco and len(source.coco) > 1:
        raise UserError(
            "COCO files are given with and without a split; name the split of each: --coco val=FILE"
        )
    if source.coco and "" not in source.coco and (source.splits or source.held_out):
        raise UserError(
            "every COCO file is given a split, so --split and --hold-out have no say; leave them out"
        )
    if source.maps is not None and not source.maps.is_dir():
        raise UserError(f"label map folder {source.maps} does not exist; give the folder that holds the PNGs")
    maps = None if source.maps is None else source.maps.resolve()
    return replace(source, images=source.images.resolve(), maps=maps)


def root_of(source: Source, out: Path) -> Path:
    """Give the folder that the index's paths are relative to: the innermost that holds pictures and maps."""
    return Path(os.path.commonpath([source.images, out if source.maps is None else source.maps]))


def _candidates(
    source: Source, own: LabelFile, folder: Path, out: Path
) -> tuple[list[Candidate], list[Problem]]:
    """Pair pictures with label maps, those of COCO files drawn into `folder`, which becomes `out`."""
    root = root_of(source, out)
    assign = partial(assigned, given=source.splits or {}, held_out=source.held_out or {}, seed=source.seed)
    if source.coco:
        return draw_coco(
            source.coco,
            own,
            images=source.images,
            assign=assign,
            other_categories=source.other_categories,
            folder=folder,
            out=out,
            root=root,
        )
    assert source.maps is not None
    pictures = pictures_below(source.images)
    candidates = []
    for split, names in assign(list(pictures)).items():
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


def checked(source: Source, own: LabelFile, *, folder: Path, out: Path, leave_out: bool) -> Checked:
    """Look at every picture of the source; COCO annotations are drawn into `folder`, which becomes `out`.

    Raises:
        UserError: pictures have problems and are not to be left out, or a split has no picture left.
    """
    candidates, problems = _candidates(source, own, folder, out)
    order = list(dict.fromkeys([one.split for one in candidates] + [one.split for one in problems]))
    with progress(f"check {own.name}") as bar:
        found = examine_all(
            candidates, own.label_set(), progress=lambda done, total: bar.advance(done, total=total)
        )
    examined = [one for one in found if isinstance(one, Examined)]
    broken = [one for one in found if isinstance(one, Problem)]
    problems = [*problems, *_same_names(candidates), *broken, *copies_across_splits(examined, order)]
    if problems and not leave_out:
        raise UserError(told(source.images, problems))
    bad = {(problem.split, problem.image) for problem in problems}
    kept = [one for one in examined if (one.row["split"], one.row["image"]) not in bad]
    for split in order:
        if not _of(kept, split):
            raise UserError(f"split {split!r} has no picture left; {told(source.images, problems)}")
    return Checked(own, kept, order, tuple(problems))


def summary_of(checked: Checked) -> dict[str, Any]:
    """Count pictures and pixels of every class in every split, and name what was left out."""
    own, index = checked.own, checked.index
    label_set = own.label_set()
    splits = {split: _counts(_of(checked.kept, split), own, label_set) for split in checked.order}
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
            for split in checked.order
        },
        "left_out": [asdict(problem) for problem in checked.problems],
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
