"""Label a raster of any size: a label map as GeoTIFF with the raster's georeference, and a table of its classes.

Each row of blocks is a file of its own beside the label map until all are there; so an interrupted run resumes at the row
that it was at, and the label map appears whole or not at all.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cascade_core.errors import UserError
from cascade_core.inference.blocks import Block, BlockLabeller
from cascade_core.inference.prediction import MAX_LABELS, checked_labels
from cascade_core.inference.tiles import Span
from cascade_core.predictor import Predictor
from cascade_core.render.colours import palette
from cascade_core.render.visualise import ignored_id
from cascade_core.runtime.files import new_file, read_json, write_json
from cascade_core.runtime.stamp import Stamp
from cascade_core.runtime.targets import writable_file
from components.progress import progress
from components.rasters.reading import Raster, open_raster, opened, window_of
from components.storage.lease import Lease
from components.vectors.encoding import encoded

if TYPE_CHECKING:
    from rasterio.io import DatasetWriter

REQUEST_FILE = "request.json"
TILE = 512
"""Height and width of the label map's own tiles, in pixels."""
COPIED_ROWS = 512


@dataclass(frozen=True)
class RasterFiles:
    """What labelling a raster writes: the label map, the table of its classes, and the confidence of each pixel."""

    labels: Path
    classes: Path
    confidence: Path | None = None


def label_raster(
    predictor: Predictor,
    path: Path,
    labels: Sequence[str],
    out: Path,
    *,
    bands: Sequence[int] = (),
    stretch: tuple[float, float] | None = None,
    resume: bool = False,
    confidence_map: bool = False,
) -> RasterFiles:
    """Label a raster, which the model sees at its own resolution through sliding windows.

    Pixels without values ("no data", alpha) have no label. With `resume`, rows of blocks stay that an interrupted run of
    the same request has finished.

    Raises:
        UserError: the raster cannot be read (see `open_raster`), labels are invalid, `out` is no .tif or not to be
            replaced, the settings need the whole picture, the model's scores are NaN, or another process writes `out`.
    """
    names = checked_labels(labels)
    files = _files(out, confidence_map)
    for file in (files.labels, files.classes, *([files.confidence] if files.confidence else [])):
        writable_file(file)
    with open_raster(path, bands=bands, stretch=stretch) as raster:
        config = predictor.manifest.config
        encoded(predictor, names)
        labeller = BlockLabeller(
            predictor.vocabulary(names), raster.size, predictor.evaluate, config.data.mean, config.data.std
        )
        all_names = predictor.map_labels(names)
        out.parent.mkdir(parents=True, exist_ok=True)
        lease = Lease(out, "labelling")
        lease.acquire(wait=False)
        try:
            parts = _parts_folder(out, _request(predictor, raster, names), resume=resume)
            rows = labeller.rows()
            with progress(f"predict {path.name}", len(rows)) as bar:
                for number, span in enumerate(rows):
                    part = parts / f"row_{number:05d}.tif"
                    if not part.exists():
                        _write_row(part, labeller, raster, span, all_names)
                    bar.advance(number + 1)
            _join(files, parts, rows, raster, all_names, predictor)
            shutil.rmtree(parts)
        finally:
            lease.release()
    return files


def _files(out: Path, confidence_map: bool) -> RasterFiles:
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise UserError(f"--out is {out}; give the label map's file, such as {out.with_suffix('.tif').name}")
    confidence = out.with_name(f"{out.stem}_confidence.tif") if confidence_map else None
    return RasterFiles(out, out.with_name(f"{out.stem}_classes.json"), confidence)


def _request(predictor: Predictor, raster: Raster, names: Sequence[str]) -> dict[str, Any]:
    """Return what the labels depend on; the raster counts by size and time, as reading it takes as long as labelling."""
    stamp = Stamp.of(raster.path)
    assert stamp is not None, f"{raster.path} is open"
    return {
        "raster": {"name": raster.path.name, "bytes": stamp.num_bytes, "modified_ns": stamp.modified_ns},
        "bands": list(raster.bands),
        "limits": None if raster.limits is None else [list(ends) for ends in raster.limits],
        "labels": list(names),
        "model": predictor.identity,
        "inference": predictor.evaluate.model_dump(mode="json", exclude={"batch_size"})
        | {"seen_penalty": predictor.seen_penalty, "mode": "slide", "short_side": None},
    }


def _parts_folder(out: Path, request: dict[str, Any], *, resume: bool) -> Path:
    """Return the folder of the finished rows of this request, emptied unless it is resumed."""
    parts = out.with_name(f".{out.name}.parts")
    stated = parts / REQUEST_FILE
    if not (resume and stated.is_file() and read_json(stated) == request):
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir(parents=True)
        write_json(stated, request)
    return parts


def _write_row(part: Path, labeller: BlockLabeller, raster: Raster, rows: Span, names: Sequence[str]) -> None:
    """Label a row of blocks into a file of two bands: labels and confidence."""
    none = ignored_id(len(names))
    with new_file(part) as path, _new_tiff(path, raster, rows, names, count=2) as file:
        for columns in labeller.columns():
            valid = raster.valid(rows, columns)
            ids = np.full(valid.shape, none, dtype=file.dtypes[0])
            levels = np.zeros(valid.shape, dtype=file.dtypes[0])
            if valid.any():
                block = labeller.label(rows, columns, raster.read)
                _check_numbers(block, valid, raster)
                ids[valid] = block.ids.cpu().numpy()[valid]
                levels[valid] = (block.confidence.float().cpu().numpy()[valid] * 255).round().clip(0, 255)
            window = window_of((0, rows[1] - rows[0]), columns)
            file.write(np.stack([ids, levels]), window=window)


def _check_numbers(block: Block, valid: np.ndarray, raster: Raster) -> None:
    broken = np.count_nonzero((block.ids.cpu().numpy() < 0) & valid)
    if broken:
        raise UserError(
            f"{raster.path}: the model's scores are not numbers at {broken:,} pixels from row {block.rows[0]} and column "
            f"{block.columns[0]} on, because its weights or text vectors hold NaN; train or convert it anew"
        )


def _join(
    files: RasterFiles,
    parts: Path,
    rows: Sequence[Span],
    raster: Raster,
    names: Sequence[str],
    predictor: Predictor,
) -> None:
    """Copy the rows into the label map and the confidence map, and write the table of classes."""
    whole, none = (0, raster.size[0]), ignored_id(len(names))
    counts, sums = np.zeros(len(names), dtype=np.int64), np.zeros(len(names))
    with (
        _outputs(files, raster, whole, names, predictor) as (labels, confidence),
        progress(f"join {files.labels.name}", len(rows)) as bar,
    ):
        for number, (top, bottom) in enumerate(rows):
            with opened(parts / f"row_{number:05d}.tif") as part:
                for first in range(0, bottom - top, COPIED_ROWS):
                    last = min(first + COPIED_ROWS, bottom - top)
                    columns = (0, raster.size[1])
                    ids, levels = part.read(window=window_of((first, last), columns))
                    target = window_of((top + first, top + last), columns)
                    labels.write(ids, 1, window=target)
                    if confidence is not None:
                        confidence.write(levels.astype(np.uint8), 1, window=target)
                    has_label = ids != none
                    counts += np.bincount(ids[has_label], minlength=len(names))
                    sums += np.bincount(ids[has_label], weights=levels[has_label], minlength=len(names))
            bar.advance(number + 1)
    write_json(
        files.classes,
        {
            "width": raster.size[1],
            "height": raster.size[0],
            "valid_pixels": int(counts.sum()),
            "classes": _class_rows(counts, sums, raster.pixel_area, names),
            "request": read_json(parts / REQUEST_FILE),
        },
    )


def _class_rows(
    counts: np.ndarray, sums: np.ndarray, pixel_area: float | None, names: Sequence[str]
) -> list[dict[str, Any]]:
    return [
        {
            "id": int(i),
            "label": names[i],
            "pixels": int(counts[i]),
            "share": float(counts[i] / counts.sum()),
            "confidence": float(sums[i] / counts[i] / 255),
            **({} if pixel_area is None else {"square_metres": float(counts[i] * pixel_area)}),
        }
        for i in np.argsort(-counts, kind="stable")
        if counts[i]
    ]


@contextmanager
def _outputs(
    files: RasterFiles, raster: Raster, rows: Span, names: Sequence[str], predictor: Predictor
) -> Iterator[tuple["DatasetWriter", "DatasetWriter | None"]]:
    with new_file(files.labels) as path, _new_tiff(path, raster, rows, names, count=1) as labels:
        if len(names) <= MAX_LABELS:
            colours = palette(len(names), predictor.colours_of(names)[: len(names)])
            labels.write_colormap(1, {i: (*map(int, colour), 255) for i, colour in enumerate(colours)})
        labels.set_band_description(1, "class")
        labels.update_tags(1, **{f"CLASS_{i}": name for i, name in enumerate(names)})
        if files.confidence is None:
            yield labels, None
            return
        with (
            new_file(files.confidence) as other,
            _new_tiff(other, raster, rows, (), count=1) as confidence,
        ):
            confidence.set_band_description(1, "confidence, 255 is 1")
            yield labels, confidence


def _new_tiff(path: Path, raster: Raster, rows: Span, names: Sequence[str], *, count: int) -> "DatasetWriter":
    """Open a tiled and compressed GeoTIFF for some rows of a raster; without names it holds levels of 8 bits."""
    wide = len(names) > MAX_LABELS
    profile = {
        "driver": "GTiff",
        "height": rows[1] - rows[0],
        "width": raster.size[1],
        "count": count,
        "dtype": "uint16" if wide else "uint8",
        "nodata": ignored_id(len(names)) if names else None,
        "tiled": True,
        "blockxsize": TILE,
        "blockysize": TILE,
        "compress": "deflate",
        "bigtiff": "if_safer",
        "interleave": "band",
    }
    if rows == (0, raster.size[0]) and raster.has_place:
        profile |= {"crs": raster.file.crs, "transform": raster.file.transform}
    return opened(path, "w", **profile)
