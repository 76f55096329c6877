"""Check each picture of a data set and its label map; a problem with one does not stop the check of the others."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cascade_core.data.pictures import decode_image, decode_label_ids
from cascade_core.errors import UserError
from cascade_core.labels.label_set import IGNORE, INVALID, LabelSet
from cascade_core.runtime.pool import Progress, parallel_map

Kind = Literal["missing", "unreadable", "size", "ids", "polygons", "duplicate"]


@dataclass(frozen=True)
class Candidate:
    """A picture that may enter an index, and its label map.

    `image_path` and `label_path` are the files, `image` and `label` their paths in the index, relative to the data root.
    """

    name: str
    split: str
    image_path: Path
    label_path: Path
    image: str
    label: str


@dataclass(frozen=True)
class Problem:
    """A problem with a picture; `text` is a sentence that names the file.

    `image` identifies the picture, as in the index, because two pictures may have one name.
    """

    name: str
    image: str
    split: str
    kind: Kind
    text: str


@dataclass(frozen=True)
class Examined:
    """The index row of a picture without problems, and the number of pixels of each raw id in its label map."""

    row: dict[str, Any]
    raw_pixels: Mapping[int, int]


def examine_all(
    candidates: Sequence[Candidate], label_set: LabelSet, *, progress: Progress | None = None
) -> list[Examined | Problem]:
    """Examine all candidates in parallel; order is preserved."""
    return parallel_map(partial(examine, label_set=label_set), candidates, progress=progress)


def examine(candidate: Candidate, label_set: LabelSet) -> Examined | Problem:
    """Decode a picture and its label map, and return its index row or the first problem with them."""
    problem = partial(Problem, candidate.name, candidate.image, candidate.split)
    try:
        image_content, label_content = candidate.image_path.read_bytes(), candidate.label_path.read_bytes()
        picture = decode_image(image_content, candidate.image)
        raw_ids = decode_label_ids(label_content, candidate.label)
    except OSError as error:
        text = f"{error.filename}: cannot be read ({error.strerror}); check the path and its permissions"
        return problem("missing" if isinstance(error, FileNotFoundError) else "unreadable", text)
    except UserError as error:
        return problem("unreadable", str(error))
    height, width = picture.shape[:2]
    if raw_ids.shape != (height, width):
        return problem("size", _size_text(candidate, raw_ids.shape, (height, width)))
    raw_pixels = {raw: count for raw, count in enumerate(np.bincount(raw_ids.ravel()).tolist()) if count}
    class_pixels: Counter[int] = Counter()
    for raw, count in raw_pixels.items():
        class_pixels[label_set.raw_to_train[raw]] += count
    if INVALID in class_pixels:
        strays = (raw for raw in raw_pixels if label_set.raw_to_train[raw] == INVALID)
        text = (
            f"{candidate.label}: label ids {', '.join(f'{raw} ({raw_pixels[raw]} pixels)' for raw in strays)} are not "
            f"in label set {label_set.name!r}, whose maps hold {label_set.describe_raw_ids()}; mend the map, choose "
            "the label set of this data, or give the id a class, background or ignore_id in the label file"
        )
        return problem("ids", text)
    del class_pixels[IGNORE]
    classes = sorted(class_pixels)
    row = {
        "name": candidate.name,
        "split": candidate.split,
        "image": candidate.image,
        "label": candidate.label,
        "width": width,
        "height": height,
        "classes": classes,
        "pixels": [class_pixels[train] for train in classes],
        "image_sha256": hashlib.sha256(image_content).hexdigest(),
        "label_sha256": hashlib.sha256(label_content).hexdigest(),
    }
    return Examined(row, raw_pixels)


def _size_text(candidate: Candidate, label_size: tuple[int, ...], size: tuple[int, int]) -> str:
    """Describe a label map whose size differs from its upright picture's, and the remedy; sizes are (height, width)."""
    remedy = "a label map has the size of its picture"
    if label_size == size[::-1]:
        remedy = "the picture probably has an EXIF orientation, and the map does not: turn the map like the picture"
    return (
        f"{candidate.label}: size {label_size[1]}x{label_size[0]} differs from {size[1]}x{size[0]} of "
        f"{candidate.image} (upright); {remedy}"
    )


def copies_across_splits(examined: Iterable[Examined], order: Sequence[str]) -> Iterator[Problem]:
    """Report pictures that occur in two splits (train/test leakage), except the copy in the last split of `order`."""
    by_content: dict[str, list[dict[str, Any]]] = {}
    for picture in examined:
        by_content.setdefault(picture.row["image_sha256"], []).append(picture.row)
    for rows in by_content.values():
        last = max(rows, key=lambda row: order.index(row["split"]))
        for row in rows:
            if row["split"] != last["split"]:
                text = (
                    f"{row['image']} of split {row['split']!r} is the same picture as {last['image']} of "
                    f"{last['split']!r}; keep only one of them, or the scores mean nothing"
                )
                yield Problem(row["name"], row["image"], row["split"], "duplicate", text)
