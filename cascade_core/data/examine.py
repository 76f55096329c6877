"""A look at every picture and label map of a data set of one's own, which goes on past what is wrong with one."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64

from cascade_core.data.index import Progress, size_remedy
from cascade_core.data.own_layout import Candidate
from cascade_core.data.pictures import decode_image, decode_label_ids
from cascade_core.labels.label_set import IGNORE, INVALID, LabelSet

Kind = Literal["missing", "unreadable", "size", "ids", "polygons", "duplicate"]


@dataclass(frozen=True)
class Problem:
    """What is wrong with a picture of a split, in one sentence that names the file."""

    name: str
    split: str
    kind: Kind
    text: str


@dataclass(frozen=True)
class Examined:
    """The index row of a picture that is as it should be, and how many pixels each raw id has in its label map."""

    row: dict[str, Any]
    raw_pixels: Mapping[int, int]


def examine_all(
    candidates: Sequence[Candidate], label_set: LabelSet, *, workers: int = 4, progress: Progress | None = None
) -> list[Examined | Problem]:
    """Examine every candidate, on a pool of threads (decoding leaves the interpreter free), in their order."""
    found: dict[int, Examined | Problem] = {}
    with ThreadPoolExecutor(max_workers=workers) as pool:
        places = {pool.submit(examine, one, label_set): i for i, one in enumerate(candidates)}
        for done, future in enumerate(as_completed(places), start=1):
            found[places[future]] = future.result()
            if progress is not None:
                progress(done, len(candidates))
    return [found[i] for i in range(len(candidates))]


def examine(candidate: Candidate, label_set: LabelSet) -> Examined | Problem:
    """Read a picture and its label map whole, and tell the first thing that is wrong with them."""
    try:
        image_content, label_content = candidate.image_path.read_bytes(), candidate.label_path.read_bytes()
        picture = decode_image(image_content, candidate.image)
        raw_ids = decode_label_ids(label_content, candidate.label)
    except OSError as error:
        text = f"{error.filename}: cannot be read ({error.strerror}); check that it is there, and its permissions"
        kind: Kind = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        return Problem(candidate.name, candidate.split, kind, text)
    except ValueError as error:
        return Problem(candidate.name, candidate.split, "unreadable", str(error))
    height, width = picture.shape[:2]
    if raw_ids.shape != (height, width):
        text = (
            f"{candidate.label}: size {raw_ids.shape[1]}x{raw_ids.shape[0]} differs from {width}x{height} of "
            f"{candidate.image} (upright); {size_remedy(raw_ids.shape, (height, width))}"
        )
        return Problem(candidate.name, candidate.split, "size", text)
    pixels = np.bincount(raw_ids.ravel(), minlength=256).astype(np.int64)
    if strays := _strays(pixels, label_set):
        text = (
            f"{candidate.label}: ids {strays} are not in the label file, whose maps hold "
            f"{label_set.describe_raw_ids()}; mend the map, or give the id a class, background or ignore_id"
        )
        return Problem(candidate.name, candidate.split, "ids", text)
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
                yield Problem(row["name"], row["split"], "duplicate", text)


def _strays(pixels: Int64[np.ndarray, "256"], label_set: LabelSet) -> str:
    """Say which raw ids outside the label set have how many pixels, or nothing."""
    ids = np.flatnonzero((pixels > 0) & (label_set.table == INVALID))
    return ", ".join(f"{raw} ({pixels[raw]} pixels)" for raw in ids.tolist())


def _counts(pixels: Int64[np.ndarray, "256"], label_set: LabelSet) -> dict[int, int]:
    """Give the pixels of every class present, by train id."""
    raw = np.flatnonzero((pixels > 0) & (label_set.table != IGNORE))
    return {int(label_set.table[i]): int(pixels[i]) for i in sorted(raw, key=lambda i: label_set.table[i])}
