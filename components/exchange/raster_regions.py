"""The regions of a raster's label map as GeoJSON, in the raster's coordinates."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cascade_core.runtime.files import new_file
from components.exchange.geojson import BEGINS, write_raster
from components.exchange.labelled import About
from components.rasters.reading import CACHE_MIB, has_place, opened

if TYPE_CHECKING:
    from rasterio.crs import CRS

log = logging.getLogger(__name__)

DEGREES = ("urn:ogc:def:crs:OGC:1.3:CRS84", ("EPSG", "4326"))
"""GeoJSON's own coordinates, longitude before latitude, and the name that rasters give them."""


def write_regions(label_map: Path, target: Path, about: About, *, file_name: str) -> Path:
    """Write the regions of a label map, which is read row by row; memory grows with their outlines alone.

    A raster without georeference gets pixels, x to the right and y down; one whose coordinates have no name in a
    registry gets them without a name. Both are logged.

    Raises:
        UserError: another file stands there, or the disk is full.
    """
    import rasterio

    with rasterio.Env(GDAL_CACHEMAX=CACHE_MIB), opened(label_map) as file:
        placed = has_place(file)
        if not placed:
            log.warning(
                "%s is in pixels, x to the right and y down, because the raster has no georeference", target
            )
        name = _name_of(file.crs)
        if placed and name is None:
            log.warning(
                "%s does not name its coordinates, because no registry has those of %s; choose them where you open it",
                target,
                file_name,
            )
        with new_file(target, begins=BEGINS) as path, path.open("w", encoding="utf-8") as stream:
            transform = file.transform if placed else None
            band = rasterio.band(file, 1)
            write_raster(stream, band, about, file_name=file_name, crs=name, transform=transform)
    return target


def _name_of(crs: "CRS | None") -> str | None:
    authority = None if crs is None else crs.to_authority()
    if authority is None:
        return None
    own, of_rasters = DEGREES
    return own if authority == of_rasters else f"urn:ogc:def:crs:{authority[0]}::{authority[1]}"
