"""Segment many pictures into any classes; a picture that cannot be read does not stop the others.

Each picture gets a label map and a JSON file with its classes, and an overlay if asked for. The JSON is written last; then
a line in the table of finished pictures lets a rerun skip the picture. One worker reads and decodes ahead of the model,
and encodes and writes behind it.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cascade_core.bulk.outcomes import Failure, Outcome, PictureError
from cascade_core.bulk.shards import bucket_ranges, bucket_size
from cascade_core.bulk.worker import Request as WorkRequest
from cascade_core.bulk.worker import Worker
from cascade_core.errors import UserError
from cascade_core.inference.views import views
from cascade_core.predictor import Prediction, Predictor, checked_labels
from cascade_core.render.visualise import label_png, overlay
from cascade_core.runtime.files import new_file, write_json
from cascade_core.runtime.listing import short_list
from cascade_core.runtime.stamp import Stamp
from components.pictures.finished import FinishedTable
from components.pictures.picture_files import PictureFile
from components.pictures.result_files import Parts, ResultFiles, result_files, signed
from components.progress import progress
from components.vectors.encoding import encoded


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
class Done:
    """A picture and its new files; without files its results were there already, or `reason` says why it has none."""

    path: Path
    files: ResultFiles | None = None
    reason: str | None = None


@dataclass(frozen=True)
class DecodedPicture:
    """A picture's file, its upright pixels and the hash of the file."""

    file: PictureFile
    pixels: np.ndarray
    sha256: str


@dataclass(frozen=True)
class StampedFile:
    """A picture's file as a worker reads it, with its size and modification time before."""

    file: PictureFile
    stamp: Stamp | None

    @property
    def where(self) -> str:
        return str(self.file.path)

    def read(self) -> bytes:
        """Return the file's content.

        Raises:
            PictureError: it cannot be read.
        """
        try:
            return self.file.path.read_bytes()
        except OSError as error:
            raise PictureError(f"{self.where}: cannot be read ({error.strerror})") from error


def run(**arguments: Any) -> Outcomes:
    """Segment pictures as `each` does, and return the outcomes of all, which takes memory for each picture."""
    result = Outcomes()
    for done in each(**arguments):
        if done.files is not None:
            result.written.append(done.files)
        elif done.reason is None:
            result.skipped.append(done.path)
        else:
            result.failed[done.path] = done.reason
    return result


def each(
    *,
    predictor: Predictor,
    pictures: Sequence[PictureFile],
    labels: Sequence[str],
    out: Path,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    batch: int = 1,
    resume: bool = False,
    parts: Parts | None = None,
    cutout: Sequence[str] = (),
) -> Iterator[Done]:
    """Segment pictures into `labels`, write the results below `out`, and yield each picture when it is done.

    `batch` pictures of equal size go through the model together. `resume` skips a picture whose results were made with
    the same request from a file of this path, size and modification time. A picture that cannot be read or is too
    large does not stop the others. `parts` are the pictures to write besides the label map, none if
    left out. `cutout` names labels whose
    pixels are written as a picture with everything else transparent.

    Raises:
        UserError: labels, cutout, background, scales or batch are invalid; checked before any picture is read. Or a
            result cannot be written, such as on a full disk.
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
    parts = replace(parts or Parts(), cutout=bool(request.cutout))

    def finish(item: StampedFile, outcome: Outcome) -> tuple[StampedFile, Done]:
        if isinstance(outcome, Failure):
            return item, Done(item.file.path, reason=outcome.reason)
        target = result_files(out, item.file.name, parts)
        decoded = DecodedPicture(item.file, outcome.pixels, outcome.sha256)
        write_results(decoded, outcome.prediction, request, target, colours)
        return item, Done(item.file.path, target)

    worker = Worker(predictor, WorkRequest(names, request.scales, flip, batch), finish)
    counts, skipped = Counter[str](), deque[int]()

    def unfinished() -> Iterator[list[StampedFile]]:
        for positions in bucket_ranges(len(pictures), bucket_size(len(pictures), batch)):
            items = {i: StampedFile(file, Stamp.of(file.path)) for i in positions for file in (pictures[i],)}
            finished = [i for i, item in items.items() if resume and _is_finished(item, table, out, parts)]
            skipped.extend(finished)
            counts["done"] += len(finished)
            bar.advance(counts["done"], _failures(counts))
            yield [item for i, item in items.items() if i not in finished]

    with (
        FinishedTable(out, request.record(), resume=resume) as table,
        progress("predict", len(pictures)) as bar,
    ):
        for item, done in worker.results(unfinished()):
            if done.files is not None and item.stamp is not None:
                table.add(item.file, item.stamp)
            counts["done"] += 1
            counts["failed"] += done.reason is not None
            bar.advance(counts["done"], _failures(counts))
            yield done
        yield from (Done(pictures[i].path) for i in skipped)


def _failures(counts: Counter[str]) -> str:
    return f"{counts['failed']} failed" if counts["failed"] else ""


def _is_finished(item: StampedFile, table: FinishedTable, out: Path, parts: Parts) -> bool:
    return (
        item.stamp is not None
        and table.has(item.file, item.stamp)
        and result_files(out, item.file.name, parts).exist()
    )


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
    if target.overlay is not None:
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
