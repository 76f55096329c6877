"""The checked index of a data set: a row per picture with its split, size, classes and hashes.

Indexing decodes every file once, so that a broken file is reported before training and not during it. One error
lists all problems.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from cascade_core.data.examine import Candidate, Examined, Problem, examine_all
from cascade_core.data.layouts import FolderLayout, VocLayout
from cascade_core.data.picture_names import (
    SUFFIXES,
    bare,
    by_name,
    comparable,
    is_picture,
    log_skipped,
)
from cascade_core.data.sources.plan import read_names
from cascade_core.errors import UserError
from cascade_core.labels.label_set import LabelSet
from cascade_core.runtime.listing import bullets
from cascade_core.runtime.pool import Progress
from cascade_core.runtime.walking import visible_below

COLUMNS = (
    "name",
    "split",
    "image",
    "label",
    "width",
    "height",
    "classes",
    "pixels",
    "image_sha256",
    "label_sha256",
)


def voc_root(folder: Path) -> Path:
    """Find the folder that holds `JPEGImages` in `folder`, `folder/*` or `folder/VOCdevkit/*`.

    Raises:
        UserError: no folder holds it, or several do.
    """
    candidates = [folder, *sorted(folder.glob("*")), *sorted(folder.glob("VOCdevkit/*"))]
    match [candidate for candidate in candidates if (candidate / "JPEGImages").is_dir()]:
        case [root]:
            return root
        case []:
            raise UserError(
                f"{folder}: no folder JPEGImages in it or in VOCdevkit/VOC2012 below; "
                "give the folder that holds JPEGImages, SegmentationClass and ImageSets"
            )
        case roots:
            raise UserError(f"{folder}: several data sets, {', '.join(map(str, roots))}; give one of them")


def index_voc(
    root: Path,
    *,
    label_set: LabelSet,
    image_sets: Mapping[str, str],
    layout: VocLayout | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Check every file of a data set in the layout of Pascal VOC, and return its index.

    `image_sets` names the image list of each split, or several joined by "+": the published VOC sets are
    {"train": "train+aug", "val": "val"}. Rows are in the order of the lists. `classes` holds the train ids that occur,
    `pixels` their numbers of pixels, `width` and `height` the size of the upright picture.

    Raises:
        UserError: up to ten problems with their files: missing or empty lists; missing or broken pictures and label
            maps; pairs of different sizes; ids outside the label set; a picture that is listed twice.
    """
    layout = layout or VocLayout()
    if not (root / "JPEGImages").is_dir():
        raise UserError(f"{root}: no folder JPEGImages; give the folder that holds it and {layout.lists_dir}")
    if not image_sets:
        raise UserError('image_sets is empty; name at least one split, such as {"train": "train+aug"}')
    problems: list[str] = []
    pairs: list[Candidate] = []
    images = by_name(filter(is_picture, visible_below(root / "JPEGImages")), bare)
    labels = {folder: by_name(visible_below(root / folder), comparable) for folder in layout.label_dirs}
    for split, lists in image_sets.items():
        names: list[str] = []
        for stem in lists.split("+"):
            try:
                names += read_names(root / layout.lists_dir / f"{stem}.txt")
            except UserError as error:
                problems.append(str(error))
        if not names:
            problems.append(
                f"{layout.lists_dir}/{lists}.txt: split {split!r} is empty; list at least one picture"
            )
        for name in names:
            pairs.extend(_voc_pair(root, name, split, images, labels, problems))
    return _index(root, pairs, problems, label_set=label_set, progress=progress)


def index_folders(
    root: Path,
    *,
    label_set: LabelSet,
    folders: Mapping[str, tuple[str, str]],
    layout: FolderLayout | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Check every file in parallel folders of pictures and label maps, as of COCO-Stuff, and return its index.

    `folders` maps each split to its folders of pictures and of label maps, relative to the root. Rows are sorted by
    name. Columns and errors are those of `index_voc`.
    """
    suffix = (layout or FolderLayout()).label_suffix
    problems: list[str] = []
    pairs: list[Candidate] = []
    for split, (image_dir, label_dir) in folders.items():
        files, labels = visible_below(root / image_dir), by_name(visible_below(root / label_dir), comparable)
        images = by_name((file for file in files if is_picture(file) and "/" not in file), bare)
        if not images:
            problems.append(
                f"{image_dir}: split {split!r} is empty; the folder needs {', '.join(SUFFIXES)} files"
            )
        skipped = [file for file in files if "/" in file or not is_picture(file)]
        log_skipped(root / image_dir, skipped, "because they are no pictures or lie in subfolders")
        for name, alike in images.items():
            image = _only(image_dir, alike, problems)
            label = _only(label_dir, labels.get(comparable(name + suffix), []), problems)
            if image and label:
                pairs.append(Candidate(name, split, root / image, root / label, image, label))
            elif image:
                problems.append(
                    f"{image}: no label map {label_dir}/{name}{suffix}; add it, or remove the picture"
                )
    return _index(root, pairs, problems, label_set=label_set, progress=progress)


def _only(folder: str, alike: Sequence[str], problems: list[str]) -> str | None:
    """Return the path of the only file in `alike`, or None; append a problem if there are several."""
    if len(alike) > 1:
        problems.append(f"{folder}: {' and '.join(alike)} stand for one name; keep one of them")
    return f"{folder}/{alike[0]}" if alike else None


def _voc_pair(
    root: Path,
    name: str,
    split: str,
    images: Mapping[str, Sequence[str]],
    labels: Mapping[str, Mapping[str, Sequence[str]]],
    problems: list[str],
) -> Iterator[Candidate]:
    """Yield the pair of a listed name, or append to `problems` which file is missing."""
    image = _only("JPEGImages", images.get(name, []), problems)
    maps = (_only(folder, files.get(f"{name}.png", []), problems) for folder, files in labels.items())
    label = next(filter(None, maps), None)
    if image is None:
        problems.append(
            f"JPEGImages/{name}.jpg: picture of split {split!r} is missing; add it, or take {name} off the list"
        )
    if label is None:
        places = " and ".join(f"{folder}/{name}.png" for folder in labels)
        problems.append(
            f"{name} of split {split!r}: label map is missing, looked for {places}; "
            f"add it, or take {name} off the list"
        )
    if image is not None and label is not None:
        yield Candidate(name, split, root / image, root / label, image, label)


def _index(
    root: Path,
    pairs: list[Candidate],
    problems: list[str],
    *,
    label_set: LabelSet,
    progress: Progress | None,
) -> pd.DataFrame:
    """Check all pairs and return their rows, or raise one error with all problems."""
    splits: dict[str, str] = {}
    for pair in pairs:
        if pair.image in splits:
            both = f"{splits[pair.image]!r} and {pair.split!r}"
            problems.append(
                f"{pair.image}: listed twice, in splits {both}; a picture belongs to one split, once"
            )
        splits.setdefault(pair.image, pair.split)
    pictures = examine_all(pairs, label_set, progress=progress)
    problems.extend(picture.text for picture in pictures if isinstance(picture, Problem))
    if problems:
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise UserError(f"data set {root}: {count}{bullets(problems)}")
    rows = [picture.row for picture in pictures if isinstance(picture, Examined)]
    return pd.DataFrame(rows, columns=list(COLUMNS))
