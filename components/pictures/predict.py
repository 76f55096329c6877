"""Segment many pictures into any classes; a picture that cannot be read does not stop the others.

Each picture gets an overlay, a label map and a JSON file with its classes. The JSON is written last, so its presence
marks the picture as done. It records the request, so that a rerun can decide whether the results still hold.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cascade_core.data.pictures import decode_image, upright_size
from cascade_core.errors import UserError
from cascade_core.inference.views import views
from cascade_core.predictor import Prediction, Predictor, checked_labels
from cascade_core.render.visualise import label_png, overlay
from cascade_core.runtime.files import new_file, write_json
from cascade_core.runtime.listing import short_list
from components.pictures.picture_files import PictureFile
from components.pictures.result_files import ResultFiles, record_of, result_files, signed
from components.progress import progress
from components.vectors.encoding import encoded

BATCH_PIXELS = 2**22
"""A batch of pictures has at most this many pixels, unless one picture has more."""


@dataclass(frozen=True)
class Request:
    """The settings that a result depends on, beside the picture; the batch size is none of them."""

    labels: tuple[str, ...]
    model: str
    inference: Mapping[str, Any]
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    cutout: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return the request as JSON holds it; without a cutout it has no such field."""
        record = {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }
        if not self.cutout:
            del record["cutout"]
        return record


@dataclass
class Outcomes:
    """The outcome for each picture: its files, or that its results were there already, or the error."""

    written: list[ResultFiles] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DecodedPicture:
    """A picture's file, its upright pixels and the hash of the file."""

    file: PictureFile
    pixels: np.ndarray
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
    cutout: Sequence[str] = (),
) -> Outcomes:
    """Segment pictures into `labels`, write the results below `out`, and return the outcome for each picture.

    `batch` pictures of equal size go through the model together. `resume` skips a picture whose results were made
    from the same file with the same request. A picture that cannot be read or is too large does not stop the others.
    `cutout` names labels whose pixels are written as a picture with everything else transparent.

    Raises:
        UserError: labels, cutout, background, scales or batch are invalid; checked before any picture is read.
    """
    if batch < 1:
        raise UserError(f"batch of {batch} pictures; give 1 or more")
    names = checked_labels(labels)
    views(scales, flip=flip)
    # Encode the names, those for background too, so that an unknown word fails before the first picture.
    encoded(predictor, names)
    request = replace(
        request_of(predictor, names, scales=scales, flip=flip), cutout=_checked_cutout(cutout, names)
    )
    colours = predictor.colours_of(names)
    result = Outcomes()
    with progress("predict", len(pictures)) as bar:
        for files in _batches(pictures, batch, result):
            read = list(_read(files, request, out, result, resume, confidence_map))
            for picture, prediction in _segment(predictor, read, request, result):
                target = result_files(out, picture.file.name, confidence_map, bool(request.cutout))
                write_results(picture, prediction, request, target, colours)
                result.written.append(target)
            done = len(result.written) + len(result.skipped) + len(result.failed)
            bar.advance(done, f"{len(result.failed)} failed" if result.failed else "")
    return result


def _checked_cutout(cutout: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    labels = checked_labels(cutout) if cutout else ()
    if strays := [label for label in labels if label not in names]:
        raise UserError(
            f"--cutout names {short_list(strays, most=5)}; give some of the labels: {short_list(names, most=20)}"
        )
    return labels


def request_of(
    predictor: Predictor, names: tuple[str, ...], *, scales: Sequence[float] = (1.0,), flip: bool = False
) -> Request:
    """Return the request to segment pictures into `names` with a model and its present settings."""
    inference = predictor.evaluate.model_dump(mode="json", exclude={"batch_size"})
    inference["seen_penalty"] = predictor.seen_penalty  # of `evaluate` only for inductive models
    return Request(names, predictor.identity, inference, tuple(scales), flip)


def _batches(pictures: Sequence[PictureFile], batch: int, result: Outcomes) -> Iterator[list[PictureFile]]:
    """Yield batches of pictures of equal size, read from their headers; a picture without a size fails."""
    by_size: dict[tuple[int, int], list[PictureFile]] = {}
    for file in pictures:
        try:
            by_size.setdefault(upright_size(file.path, str(file.path)), []).append(file)
        except UserError as error:
            result.failed[file.path] = str(error)
    for (width, height), files in by_size.items():
        step = max(1, min(batch, BATCH_PIXELS // (width * height)))
        for first in range(0, len(files), step):
            yield files[first : first + step]


def _read(
    files: Sequence[PictureFile],
    request: Request,
    out: Path,
    result: Outcomes,
    resume: bool,
    confidence_map: bool,
) -> Iterator[DecodedPicture]:
    """Yield the pictures to segment; the others become skipped or failed."""
    for file in files:
        try:
            content = file.path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            if resume and _is_done(
                result_files(out, file.name, confidence_map, bool(request.cutout)), request, digest
            ):
                result.skipped.append(file.path)
                continue
            yield DecodedPicture(file, decode_image(content, str(file.path)), digest)
        except OSError as error:
            result.failed[file.path] = f"{file.path}: cannot be read ({error.strerror})"
        except UserError as error:
            result.failed[file.path] = str(error)


def _is_done(written: ResultFiles, request: Request, sha256: str) -> bool:
    if not written.exist():
        return False
    record = record_of(written.classes) or {}
    return bool(record.get("request") == request.record() and record.get("picture_sha256") == sha256)


def _segment(
    predictor: Predictor, pictures: Sequence[DecodedPicture], request: Request, result: Outcomes
) -> Iterator[tuple[DecodedPicture, Prediction]]:
    if not pictures:
        return
    pixels = [picture.pixels for picture in pictures]
    try:
        predictions = predictor.predict_equal(
            pixels, request.labels, scales=request.scales, flip=request.flip
        )
    except UserError as error:
        result.failed |= {picture.file.path: f"{picture.file.path}: {error}" for picture in pictures}
        return
    yield from zip(pictures, predictions, strict=True)


def cut_out(pixels: np.ndarray, prediction: Prediction, labels: Sequence[str]) -> Image.Image:
    """Return the picture with every pixel transparent that has none of these labels."""
    visible = np.isin(prediction.label_map, [prediction.labels.index(label) for label in labels])
    return Image.fromarray(np.dstack([pixels, np.where(visible, 255, 0).astype(np.uint8)]))


def write_results(
    picture: DecodedPicture,
    prediction: Prediction,
    request: Request,
    target: ResultFiles,
    colours: Sequence[str],
) -> None:
    """Write a picture's results; the JSON comes last."""
    names, (height, width) = prediction.labels, prediction.label_map.shape
    target.classes.unlink(missing_ok=True)
    with new_file(target.overlay) as path:
        overlay(picture.pixels, prediction.label_map, names, colours=colours).save(
            path, format="PNG", pnginfo=signed()
        )
    with new_file(target.label_map) as path:
        label_png(prediction.label_map, len(names), colours).save(path, format="PNG", pnginfo=signed())
    if target.confidence is not None:
        with new_file(target.confidence) as path:
            Image.fromarray(prediction.confidence_levels).save(path, format="PNG", pnginfo=signed())
    if target.cutout is not None:
        with new_file(target.cutout) as path:
            cut_out(picture.pixels, prediction, request.cutout).save(path, format="PNG", pnginfo=signed())
    content = {
        "width": width,
        "height": height,
        "mean_confidence": prediction.mean_confidence,
        "classes": [asdict(area) for area in prediction.areas],
        "picture": picture.file.path.name,
        "picture_sha256": picture.sha256,
        "request": request.record(),
    }
    write_json(target.classes, content)
