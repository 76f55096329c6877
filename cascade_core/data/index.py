"""The checked index of a data set: one row per picture with its split, size, classes and hashes.

Every file is read and decoded once here, so that a broken one is named before training starts and not
in the middle of it. All problems found are told in one error.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import pandas as pd

from cascade_core.data.examine import Candidate, Examined, Problem, examine_all
from cascade_core.data.layouts import FOLDER_LAYOUT, VOC_LAYOUT, FolderLayout, VocLayout
from cascade_core.errors import UserError
from cascade_core.labels.label_set import LabelSet
from cascade_core.runtime.listing import bullets
from cascade_core.runtime.pool import Progress

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
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def voc_root(folder: Path) -> Path:
    """Find the folder that holds `JPEGImages` in `folder`, `folder/*` or `folder/VOCdevkit/*`.

    Raises:
        UserError: there is none, or more than one.
    """
    candidates = [folder, *sorted(folder.glob("*")), *sorted(folder.glob("VOCdevkit/*"))]
    found = [candidate for candidate in candidates if (candidate / "JPEGImages").is_dir()]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(
            f"{folder}: no folder JPEGImages in it or in VOCdevkit/VOC2012 below; "
            "give the folder that holds JPEGImages, SegmentationClass and ImageSets"
        )
    raise UserError(
        f"{folder}: several data sets, {', '.join(str(path) for path in found)}; give one of them"
    )


def index_voc(
    root: Path,
    *,
    label_set: LabelSet,
    image_sets: Mapping[str, str],
    layout: VocLayout = VOC_LAYOUT,
    workers: int = 4,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Index a folder in the layout of Pascal VOC, checking every file.

    `image_sets` gives for each split the list that names its pictures, or several joined by "+": the
    published VOC training set is {"train": "train+aug", "val": "val"}. Rows come in the order of the lists; `classes` holds the train ids
    present, `pixels` how many each of them has, `width` and `height` those of the upright picture.

    Raises:
        UserError: naming file and field of up to ten problems: missing or empty lists, missing, broken or
            ill-fitting pictures and label maps, ids outside the label set, a picture listed twice.
    """
    if not (root / "JPEGImages").is_dir():
        raise UserError(f"{root}: no folder JPEGImages; give the folder that holds it and {layout.lists_dir}")
    if not image_sets:
        raise UserError('image_sets is empty; name at least one split, such as {"train": "train+aug"}')
    problems: list[str] = []
    pairs: list[Candidate] = []
    for split, lists in image_sets.items():
        names = [
            name
            for stem in lists.split("+")
            for name in _listed(root, f"{layout.lists_dir}/{stem}.txt", problems)
        ]
        if not names:
            problems.append(
                f"{layout.lists_dir}/{lists}.txt: split {split!r} is empty; list at least one picture"
            )
        for name in names:
            pairs.extend(_voc_pair(root, name, split, layout.label_dirs, problems))
    problems.extend(_repeated(pairs))
    return _index(root, pairs, problems, label_set=label_set, workers=workers, progress=progress)


def index_folders(
    root: Path,
    *,
    label_set: LabelSet,
    folders: Mapping[str, tuple[str, str]],
    layout: FolderLayout = FOLDER_LAYOUT,
    workers: int = 4,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Index parallel folders of photographs and label maps, the layout of COCO-Stuff and ADE20K.

    `folders` gives (images, labels) for each split, relative to the root. Rows are sorted by name. Errors as of
    `index_voc`.
    """
    problems: list[str] = []
    pairs: list[Candidate] = []
    for split, (image_dir, label_dir) in folders.items():
        images = sorted(
            path for path in (root / image_dir).glob("*") if path.suffix.lower() in IMAGE_SUFFIXES
        )
        if not images:
            problems.append(
                f"{image_dir}: split {split!r} is empty; the folder needs {', '.join(IMAGE_SUFFIXES)} files"
            )
        for image in images:
            label = f"{label_dir}/{image.stem}{layout.label_suffix}"
            if (root / label).is_file():
                pairs.append(_pair(root, image.stem, split, f"{image_dir}/{image.name}", label))
            else:
                problems.append(
                    f"{image_dir}/{image.name}: no label map {label}; add it, or remove the picture"
                )
    problems.extend(_repeated(pairs))
    return _index(root, pairs, problems, label_set=label_set, workers=workers, progress=progress)


def _listed(root: Path, list_path: str, problems: list[str]) -> list[str]:
    """Read the names of an image list, noting what is wrong with it."""
    try:
        lines = (root / list_path).read_text(encoding="utf-8-sig").splitlines()
    except OSError:
        present = sorted(path.stem for path in (root / list_path).parent.glob("*.txt"))
        problems.append(f"{list_path}: image list is missing; lists at hand: {', '.join(present) or 'none'}")
        return []
    except UnicodeDecodeError:
        problems.append(f"{list_path}: image list is no UTF-8 text; write one picture name a line")
        return []
    names = []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) == 1 and _is_plain(fields[0]):
            names.append(fields[0])
        elif fields:
            problems.append(
                f"{list_path} line {number}: {line.strip()!r} is no picture name; "
                "expected one name a line, without suffix, spaces or '..'"
            )
    return names


def _is_plain(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and "\0" not in name


def _voc_pair(
    root: Path, name: str, split: str, label_dirs: tuple[str, ...], problems: list[str]
) -> Iterator[Candidate]:
    """Yield the pair of a listed name if both its files exist, else note which is missing."""
    images = [f"JPEGImages/{name}{suffix}" for suffix in IMAGE_SUFFIXES]
    labels = [f"{folder}/{name}.png" for folder in label_dirs]
    image = next((path for path in images if (root / path).is_file()), None)
    label = next((path for path in labels if (root / path).is_file()), None)
    if image is None:
        problems.append(
            f"{images[0]}: picture of split {split!r} is missing; add it, or take {name} off the list"
        )
    if label is None:
        problems.append(
            f"{name} of split {split!r}: label map is missing, looked for {' and '.join(labels)}; "
            f"add it, or take {name} off the list"
        )
    if image is not None and label is not None:
        yield _pair(root, name, split, image, label)


def _pair(root: Path, name: str, split: str, image: str, label: str) -> Candidate:
    return Candidate(name, split, root / image, root / label, image, label)


def _repeated(pairs: Iterable[Candidate]) -> Iterator[str]:
    """Tell of pictures that are listed twice, within a split or across splits."""
    first_split: dict[str, str] = {}
    for pair in pairs:
        if pair.image in first_split:
            both = f"{first_split[pair.image]!r} and {pair.split!r}"
            yield f"{pair.image}: listed twice, in splits {both}; a picture belongs to one split, once"
        first_split.setdefault(pair.image, pair.split)


def _index(
    root: Path,
    pairs: list[Candidate],
    problems: list[str],
    *,
    label_set: LabelSet,
    workers: int,
    progress: Progress | None,
) -> pd.DataFrame:
    """Check all pairs and gather the rows."""
    found = examine_all(pairs, label_set, workers=workers, progress=progress)
    problems = problems + [one.text for one in found if isinstance(one, Problem)]
    if problems:
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise UserError(f"data set {root}: {count}{bullets(problems)}")
    return pd.DataFrame([one.row for one in found if isinstance(one, Examined)], columns=list(COLUMNS))
