"""A look at every picture and label map of a data set, which goes on past what is wrong with one."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64

from cascade_core.data.pictures import decode_image, decode_label_ids
from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE, INVALID, LabelSet
from cascade_core.runtime.pool import Progress, parallel_map

Kind = Literal["missing", "unreadable", "size", "ids", "polygons", "duplicate"]


@dataclass(frozen=True)
class Candidate:
    """A picture that may come into an index: where it and its label map are, and how the index names them."""

    name: str
    split: str
    image_path: Path
    label_path: Path
    image: str
    label: str


@dataclass(frozen=True)
class Problem:
    """What is wrong with a picture of a split, in one sentence that names the file.

    `image` tells pictures apart, as in the index: two of them may have one name.
    """

    name: str
    image: str
    split: str
    kind: Kind
    text: str


@dataclass(frozen=True)
class Examined:
    """The index row of a picture that is as it should be, and how many pixels each raw id has in its label map."""

    row: dict[str, Any]
    raw_pixels: Mapping[int, int]


def examine_all(
    candidates: Sequence[Candidate],
    label_set: LabelSet,
    *,
    workers: int = 4,
    progress: Progress | None = None,
) -> list[Examined | Problem]:
    """Examine every candidate, in their order."""
    return parallel_map(partial(examine, label_set=label_set), candidates, workers=workers, progress=progress)


def examine(candidate: Candidate, label_set: LabelSet) -> Examined | Problem:
    """Read a picture and its label map whole, and give the first thing that is wrong with them."""
    try:
        image_content, label_content = candidate.image_path.read_bytes(), candidate.label_path.read_bytes()
        picture = decode_image(image_content, candidate.image)
        raw_ids = decode_label_ids(label_content, candidate.label)
    except OSError as error:
        text = f"{error.filename}: cannot be read ({error.strerror}); check that it is there, and its permissions"
        kind: Kind = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        return _problem(candidate, kind, text)
    except UserError as error:
        return _problem(candidate, "unreadable", str(error))
    height, width = picture.shape[:2]
    if raw_ids.shape != (height, width):
        text = (
            f"{candidate.label}: size {raw_ids.shape[1]}x{raw_ids.shape[0]} differs from {width}x{height} of "
            f"{candidate.image} (upright); {_size_remedy(raw_ids.shape, (height, width))}"
        )
        return _problem(candidate, "size", text)
    pixels = np.bincount(raw_ids.ravel(), minlength=256).astype(np.int64)
    if strays := _strays(pixels, label_set):
        text = (
            f"{candidate.label}: label ids {strays} are not in label set {label_set.name!r}, whose maps hold "
            f"{label_set.describe_raw_ids()}; mend the map, choose the label set of this data, or give the id a class, "
            "background or ignore_id in the label file"
        )
        return _problem(candidate, "ids", text)
    counts = _counts(pixels, label_set)
    row = {
        "name": candidate.name,
        "split": candidate.split,
        "image": candidate.image,
        "label": candidate.label,
        "width": width,
        "height": height,
        "classes": list(counts),
        "pixels": list(counts.values()),
        "image_sha256": hashlib.sha256(image_content).hexdigest(),
        "label_sha256": hashlib.sha256(label_content).hexdigest(),
    }
    return Examined(row, {int(raw): int(pixels[raw]) for raw in np.flatnonzero(pixels)})


def _problem(candidate: Candidate, kind: Kind, text: str) -> Problem:
    return Problem(candidate.name, candidate.image, candidate.split, kind, text)


def _size_remedy(label_size: tuple[int, ...], image_size: tuple[int, int]) -> str:
    """Say what to do about a label map of another size than its upright picture, both as height and width."""
    if label_size == image_size[::-1]:
        return (
            "if the picture has an EXIF orientation the map was drawn without it: turn the map as the picture"
        )
    return "a label map has the size of its picture"


def copies_across_splits(examined: Iterable[Examined], order: Sequence[str]) -> Iterator[Problem]:
    """Tell of pictures whose content is in a later split of `order` too: training on one of them would tell on the test."""
    by_content: dict[str, list[dict[str, Any]]] = {}
    for one in examined:
        by_content.setdefault(one.row["image_sha256"], []).append(one.row)
    for rows in by_content.values():
        last = max(rows, key=lambda row: order.index(row["split"]))
        for row in rows:
            if row["split"] != last["split"]:
                text = (
                    f"{row['image']} of split {row['split']!r} is the same picture as {last['image']} of "
                    f"{last['split']!r}; keep one of them, or scores tell nothing"
                )
                yield Problem(row["name"], row["image"], row["split"], "duplicate", text)


def _strays(pixels: Int64[np.ndarray, "256"], label_set: LabelSet) -> str:
    """Say which raw ids outside the label set have how many pixels, or nothing."""
    ids = np.flatnonzero((pixels > 0) & (label_set.table == INVALID))
    return ", ".join(f"{raw} ({pixels[raw]} pixels)" for raw in ids.tolist())


def _counts(pixels: Int64[np.ndarray, "256"], label_set: LabelSet) -> dict[int, int]:
    """Give the pixels of every class present, by train id."""
    raw = np.flatnonzero((pixels > 0) & (label_set.table != IGNORE))
    return {int(label_set.table[i]): int(pixels[i]) for i in sorted(raw, key=lambda i: label_set.table[i])}
