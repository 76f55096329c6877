"""Segment many pictures into any classes, going on past those that cannot be read.

Each picture gets an overlay, a label map and a JSON file with its classes; the last is written at the end, so
that a picture whose JSON is there is done, and it says what it was made with, so that a rerun can tell.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cascade_core.data.pictures import decode_image
from cascade_core.errors import UserError
from cascade_core.inference.views import views
from cascade_core.labels.label_set import BACKGROUND_COLOUR
from cascade_core.predictor import Prediction, Predictor, checked_labels
from cascade_core.render.visualise import label_png, overlay
from cascade_core.runtime.files import new_file, read_json, write_json
from components.pictures.picture_files import PictureFile
from components.progress import progress

BATCH_PIXELS = 2**22
"""Pictures go together only as long as all have no more pixels than this."""


@dataclass(frozen=True)
class Request:
    """What every picture is segmented with, which makes a result comparable: another request, another result.

    How many windows go through the model together is no part of it.
    """

    labels: tuple[str, ...]
    model: str
    inference: Mapping[str, Any]
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False


@dataclass(frozen=True)
class Written:
    """The files of one picture: tinted picture, label map, classes, and the confidence where it was wanted."""

    overlay: Path
    label_map: Path
    classes: Path
    confidence: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(
            p for p in (self.overlay, self.label_map, self.classes, self.confidence) if p is not None
        )


@dataclass
class Predicted:
    """What became of each picture."""

    written: list[Written] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Read:
    file: PictureFile
    picture: np.ndarray
    sha256: str


def run(
    *,
    predictor: Predictor,
    pictures: Sequence[PictureFile],
    labels: Sequence[str],
    out: Path,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    batch: int = 1,
    resume: bool = False,
    confidence_map: bool = False,
) -> Predicted:
    """Segment pictures into `labels` and write their results below `out`; say what became of each.

    Pictures of equal size go through the model `batch`
    at a time. With `resume`, a picture is skipped whose results were made of the same file with the same
    request. One that cannot be read or is too large is noted, and the others go on.

    Raises:
        UserError: labels, background, scales or batch are unusable: before any picture is read.
    """
    if batch < 1:
        raise UserError(f"batch of {batch} pictures; give 1 or more")
    names = checked_labels(labels)
    views(scales, flip=flip)
    # An unknown word, of background's names too, is told before the first picture.
    predictor.vocabulary(names)
    inference = predictor.evaluate.model_dump(mode="json", exclude={"batch_size"})
    request = Request(names, predictor.identity, inference, tuple(scales), flip)
    colours = _colours(predictor, names)
    result = Predicted()
    with progress("predict", len(pictures)) as bar:
        for together in _batches(pictures, batch, result):
            read = list(_read(together, request, out, result, resume, confidence_map))
            for one, prediction in _segmented(predictor, read, request, result):
                result.written.append(_write(one, prediction, request, out, confidence_map, colours))
            done = len(result.written) + len(result.skipped) + len(result.failed)
            bar.advance(done, f"{len(result.failed)} failed" if result.failed else "")
    return result


def _colours(predictor: Predictor, names: Sequence[str]) -> tuple[str, ...]:
    """Give the colours of a label file that the model was trained with, and background's after them."""
    own = predictor.manifest.config.data.own
    return (*(own.colours_of(names) if own else [""] * len(names)), BACKGROUND_COLOUR)


def _batches(pictures: Sequence[PictureFile], batch: int, result: Predicted) -> Iterator[list[PictureFile]]:
    """Put pictures of equal size together, by their headers; those without a readable one are noted."""
    by_size: dict[tuple[int, int], list[PictureFile]] = {}
    for file in pictures:
        try:
            by_size.setdefault(_upright_size(file.path), []).append(file)
        except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
            result.failed[file.path] = f"{file.path}: cannot be opened as a picture ({error})"
    for (width, height), files in by_size.items():
        together = max(1, min(batch, BATCH_PIXELS // (width * height)))
        for first in range(0, len(files), together):
            yield files[first : first + together]


def _upright_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # orientations that swap the sides
        width, height = picture.size
        return (height, width) if turned else (width, height)


def _read(
    files: Sequence[PictureFile],
    request: Request,
    out: Path,
    result: Predicted,
    resume: bool,
    confidence_map: bool,
) -> Iterator[_Read]:
    for file in files:
        try:
            content = file.path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            if resume and _is_done(places(out, file.name, confidence_map), request, digest):
                result.skipped.append(file.path)
                continue
            yield _Read(file, decode_image(content, str(file.path)), digest)
        except OSError as error:
            result.failed[file.path] = f"{file.path}: cannot be read ({error.strerror})"
        except UserError as error:
            result.failed[file.path] = str(error)


def _is_done(written: Written, request: Request, sha256: str) -> bool:
    if not all(path.is_file() for path in written.paths):
        return False
    known = read_json(written.classes)
    return bool(known.get("request") == _as_json(request) and known.get("picture_sha256") == sha256)


def _segmented(
    predictor: Predictor, read: Sequence[_Read], request: Request, result: Predicted
) -> Iterator[tuple[_Read, Prediction]]:
    if not read:
        return
    try:
        found = predictor.predict_equal(
            [one.picture for one in read], request.labels, scales=request.scales, flip=request.flip
        )
    except UserError as error:
        result.failed |= {one.file.path: f"{one.file.path}: {error}" for one in read}
        return
    yield from zip(read, found, strict=True)


def places(out: Path, name: str, confidence_map: bool = False) -> Written:
    """Give where the results of a picture are written."""
    confidence = out / f"{name}_confidence.png" if confidence_map else None
    return Written(
        out / f"{name}_overlay.png", out / f"{name}_labels.png", out / f"{name}_classes.json", confidence
    )


def _write(
    one: _Read,
    prediction: Prediction,
    request: Request,
    out: Path,
    confidence_map: bool,
    colours: Sequence[str],
) -> Written:
    written, names = places(out, one.file.name, confidence_map), prediction.labels
    written.classes.unlink(missing_ok=True)
    with new_file(written.overlay) as path:
        overlay(one.picture, prediction.label_map, names, chosen=colours).save(path, format="PNG")
    with new_file(written.label_map) as path:
        label_png(prediction.label_map, len(names), colours).save(path, format="PNG")
    if written.confidence is not None:
        with new_file(written.confidence) as path:
            Image.fromarray(prediction.confidence_levels).save(path, format="PNG")
    write_json(written.classes, {**found(prediction), "picture": one.file.path.name,
                                 "picture_sha256": one.sha256, "request": _as_json(request)})  # fmt: skip
    return written


def found(prediction: Prediction) -> dict[str, Any]:
    """Give the classes found, with pixels, share and mean confidence, as they stand in the JSON file."""
    height, width = prediction.label_map.shape
    return {
        "width": width,
        "height": height,
        "mean_confidence": prediction.mean_confidence,
        "classes": [asdict(area) for area in prediction.areas],
    }


def _as_json(request: Request) -> dict[str, Any]:
    return {**asdict(request), "labels": list(request.labels), "scales": list(request.scales)}
