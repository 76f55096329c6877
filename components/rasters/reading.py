"""A raster as the model reads it: three chosen bands, stretched to 8 bits, in windows."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from cascade_core.errors import UserError
from cascade_core.inference.tiles import Span
from cascade_core.inference.views import Picture
from cascade_core.runtime.extras import install_command

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.windows import Window

log = logging.getLogger(__name__)

CACHE_MIB = 64
"""Memory for GDAL's own cache of a file's blocks, in MiB; its default is a share of the machine's memory."""
SAMPLE_SIDE = 2048
"""The percentiles come from the raster at this many pixels a side, at most."""
DEFAULT_STRETCH = (2.0, 98.0)
"""Percentiles that become 0 and 255 where a band has more than 8 bits."""
FORMATS = "GeoTIFF, JPEG 2000, PNG, JPEG and whatever else GDAL reads"


@dataclass(frozen=True)
class Raster:
    """An open raster, read as 8-bit RGB.

    Attributes:
        bands: the numbers of the bands, from 1, that stand for red, green and blue.
        limits: the value of each of them that becomes 0, and that which becomes 255; None: they have 8 bits already.
    """

    path: Path
    file: "DatasetReader"
    bands: tuple[int, int, int]
    limits: tuple[tuple[float, float], ...] | None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.file.height, self.file.width

    @property
    def has_place(self) -> bool:
        """Whether the file says where its pixels lie."""
        return has_place(self.file)

    @property
    def pixel_area(self) -> float | None:
        """The area of a pixel in square metres; None without coordinates in a linear unit."""
        reference = self.file.crs
        if reference is None or not reference.is_projected:
            return None
        _, metres = reference.linear_units_factor
        return abs(self.file.transform.determinant) * float(metres) ** 2

    def read(self, rows: Span, columns: Span) -> Picture:
        """Return the pixels of some rows and columns.

        Raises:
            UserError: the file is damaged there.
        """
        values = _read(self.path, lambda: self.file.read(list(self.bands), window=window_of(rows, columns)))
        return np.ascontiguousarray(np.moveaxis(self._stretched(values), 0, -1))

    def valid(self, rows: Span, columns: Span) -> Bool[np.ndarray, "height width"]:
        """Return which pixels have values: those outside the file's mask, alpha and "no data" have none."""
        mask = _read(self.path, lambda: self.file.dataset_mask(window=window_of(rows, columns)))
        return np.asarray(mask) > 0

    def _stretched(self, values: np.ndarray) -> np.ndarray:
        if self.limits is None:
            return values
        low, high = (
            np.array(ends, dtype=np.float32)[:, None, None] for ends in zip(*self.limits, strict=True)
        )
        shares = (np.nan_to_num(values.astype(np.float32)) - low) / np.maximum(high - low, 1e-12)
        return (shares * 255).round().clip(0, 255).astype(np.uint8)


@contextmanager
def open_raster(
    path: Path, *, bands: Sequence[int] = (), stretch: tuple[float, float] | None = None
) -> Iterator[Raster]:
    """Open a raster and choose how it is read.

    Without `bands` these are the bands that the file calls red, green and blue, or its only ones (three, or one that
    stands for all). Without `stretch`, bands with more than 8 bits are stretched by `DEFAULT_STRETCH`.

    Raises:
        UserError: rasterio is not installed, the file is missing or no raster, a band is missing, it is not clear which
            bands to read, or the raster has no valid pixel.
    """
    if find_spec("rasterio") is None:
        raise UserError(f"rasters need rasterio, which this environment lacks: {install_command('raster')}")
    import rasterio

    if not path.is_file():
        raise UserError(f"{path} is no file; give a raster: {FORMATS}")
    with rasterio.Env(GDAL_CACHEMAX=CACHE_MIB):
        with _read(path, lambda: opened(path)) as file:
            chosen = _bands(path, file, bands)
            raster = Raster(path, file, chosen, _limits(path, file, chosen, stretch))
            if not raster.has_place:
                log.warning("%s has no georeference; neither will the label map", path)
            yield raster


def opened(path: Path, mode: str = "r", **profile: Any) -> Any:
    """Open a file with rasterio, without its warning that a file has no georeference."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, mode, **profile)


def _read(path: Path, call: Any) -> Any:
    from rasterio.errors import RasterioError

    try:
        return call()
    except RasterioError as error:
        reason = str(error.__cause__ or error).strip()
        raise UserError(
            f"{path} cannot be read as a raster ({reason}); give {FORMATS}, or fetch it anew if it is damaged"
        ) from error


def has_place(file: "DatasetReader") -> bool:
    """Return whether a file says where its pixels lie."""
    return file.crs is not None or not file.transform.is_identity


def window_of(rows: Span, columns: Span) -> "Window":
    """Return rasterio's window of these rows and columns."""
    from rasterio.windows import Window

    return Window.from_slices(rows, columns)


def _bands(path: Path, file: "DatasetReader", wanted: Sequence[int]) -> tuple[int, int, int]:
    from rasterio.enums import ColorInterp

    if missing := [band for band in wanted if band not in file.indexes]:
        raise UserError(
            f"{path} has bands 1 to {file.count}, but --bands names {missing[0]}; give existing ones"
        )
    if wanted and len(wanted) not in (1, 3):
        raise UserError(
            f"--bands names {len(wanted)} bands; give three, such as 4,3,2 for red, green, blue, or one"
        )
    if ColorInterp.palette in file.colorinterp:
        raise UserError(
            f"{path} has a palette; write its colours out first: gdal_translate -expand rgb {path.name} rgb.tif"
        )
    if not wanted:
        wanted = _coloured(file)
    if not wanted:
        raise UserError(
            f"{path} has {file.count} bands and does not say which are red, green and blue; give --bands, such as "
            "--bands 3,2,1"
        )
    for band in wanted:
        if np.dtype(file.dtypes[band - 1]).kind == "c":
            raise UserError(
                f"{path}: band {band} holds complex numbers; give a raster of whole or real numbers"
            )
    red, green, blue = wanted if len(wanted) == 3 else list(wanted) * 3
    return red, green, blue


def _coloured(file: "DatasetReader") -> list[int]:
    """Return the bands that the file calls red, green and blue, else its only ones; empty if that is not clear."""
    from rasterio.enums import ColorInterp

    colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    if set(colours) <= set(file.colorinterp):
        return [file.colorinterp.index(colour) + 1 for colour in colours]
    own = [
        band for band, kind in zip(file.indexes, file.colorinterp, strict=True) if kind != ColorInterp.alpha
    ]
    return own if len(own) in (1, 3) else []


def _limits(
    path: Path, file: "DatasetReader", bands: Sequence[int], stretch: tuple[float, float] | None
) -> tuple[tuple[float, float], ...] | None:
    if stretch is None and all(file.dtypes[band - 1] == "uint8" for band in bands):
        return None
    percentiles = stretch or DEFAULT_STRETCH
    if not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise UserError(
            f"--stretch is {percentiles[0]:g},{percentiles[1]:g}; give two percentiles such as 2,98"
        )
    shape = tuple(min(side, SAMPLE_SIDE) for side in (file.height, file.width))
    values = _read(path, lambda: file.read(list(bands), out_shape=(len(bands), *shape), masked=True))
    limits = []
    for band, sample in zip(bands, values, strict=True):
        numbers = sample.compressed()
        numbers = numbers[np.isfinite(numbers)]
        if not numbers.size:
            raise UserError(f'{path}: band {band} has no valid pixel; check the raster\'s "no data" value')
        low, high = np.percentile(numbers, percentiles)
        limits.append((float(low), float(high)))
    return tuple(limits)
