"""GeoJSON: a feature per region, in the coordinates of a raster or in pixels of a picture."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from cascade_core.data.polygons import MOST_BYTES, CocoFile, CocoImage
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json
from components.exchange.labelled import SOFTWARE, About, LabelledPicture
from components.exchange.objects import Objects, PicturesBelow
from components.exchange.outlines import Ring, regions
from components.rasters.reading import opened

BEGINS = f'{{"type": "FeatureCollection", "name": "{SOFTWARE}"'.encode()


def write_pictures(stream: TextIO, pictures: Iterable[LabelledPicture], about: About) -> None:
    """Write the regions of pictures in pixels, x to the right and y down; a picture without any gets a feature too."""
    _write(stream, None, _of_pictures(pictures, about))


def write_raster(
    stream: TextIO, band: Any, about: About, *, file_name: str, crs: str | None, transform: Any
) -> None:
    """Write the regions of a raster's label map, an open band, in the raster's coordinates.

    `crs` is their name, such as urn:ogc:def:crs:EPSG::32632, which GDAL and QGIS read although RFC 7946 has degrees alone;
    None if there is none. `transform` is None for a raster without georeference, which gets pixels.
    """
    features = (
        _feature(file_name, rings, about.labels[i], i, in_pixels=transform is None)
        for i, rings in regions(band, transform=transform)
        if i < len(about.labels)
    )
    _write(stream, crs, features)


def _of_pictures(pictures: Iterable[LabelledPicture], about: About) -> Iterator[dict[str, Any]]:
    for picture in pictures:
        count = 0
        for i, rings in regions(picture.label_map):
            if i < len(about.labels):
                count += 1
                feature = _feature(picture.file_name, rings, about.labels[i], i, in_pixels=True)
                feature["properties"]["confidence"] = picture.confidence.get(i)
                yield feature
        if not count:
            properties = {"picture": picture.file_name, "in_pixels": True}
            yield {"type": "Feature", "geometry": None, "properties": properties}


def _feature(
    file_name: str, rings: Sequence[Ring], label: str, number: int, *, in_pixels: bool
) -> dict[str, Any]:
    closed = [[*ring.tolist(), ring[0].tolist()] for ring in rings]
    properties: dict[str, Any] = {"picture": file_name, "label": label, "id": number}
    if in_pixels:
        properties["in_pixels"] = True
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": closed},
        "properties": properties,
    }


def _write(stream: TextIO, crs: str | None, features: Iterable[dict[str, Any]]) -> None:
    named = None if crs is None else {"type": "name", "properties": {"name": crs}}
    stream.write(
        f'{{"type": "FeatureCollection", "name": "{SOFTWARE}", "crs": {json.dumps(named)}, "features": ['
    )
    for number, feature in enumerate(features):
        stream.write(f"{',' if number else ''}\n{json.dumps(feature)}")
    stream.write("\n]}\n")


def read(path: Path, images: Path) -> CocoFile:
    """Read features with a `label` and the `picture` that they are of; without it they are of the only one below `images`.

    Coordinates are those of the picture if it has a georeference, unless a feature is `in_pixels`. A pixel belongs to the
    feature that its centre lies in.

    Raises:
        UserError: the file is unreadable or another one, or a feature has no area, label or picture.
    """
    content = read_json(path, most=MOST_BYTES)
    objects, pictures = Objects(path), PicturesBelow(images, path)
    images_of: dict[str, tuple[CocoImage, Any]] = {}
    for number, feature in enumerate(content["features"], start=1):
        where = f"{path}: feature {number}"
        try:
            properties, geometry = feature["properties"] or {}, feature["geometry"]
            name = str(properties.get("picture") or pictures.only() or "")
            if not name:
                raise UserError(
                    f"{where} has no property picture, and below {images} is more than one; add it"
                )
            if name not in images_of:
                images_of[name] = objects.picture(name, pictures.size(name)), _placed(pictures.file(name))
            image, transform = images_of[name]
            if geometry is not None:
                shape = {"type": geometry["type"], "coordinates": geometry["coordinates"]}
                placed = None if properties.get("in_pixels") else transform
                _read_object(objects, image, str(properties["label"]), shape, placed)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{where} is broken ({error!r}); a region has a geometry and a property label"
            ) from error
    return objects.file()


def _placed(picture: Path) -> Any:
    """Return the transform from a picture's pixels to its coordinates, or None without georeference."""
    with opened(picture) as file:
        return None if file.crs is None and file.transform.is_identity else file.transform


def _read_object(
    objects: Objects, image: CocoImage, label: str, shape: Mapping[str, Any], transform: Any
) -> None:
    """Add the pixels of a shape, drawn in the part of the picture around it."""
    from rasterio.features import bounds, rasterize
    from rasterio.transform import Affine

    if shape["type"] not in ("Polygon", "MultiPolygon"):
        raise UserError(
            f"{objects.path}: {image.file_name} has a {shape['type']} of {label!r}; draw it as a polygon, or remove it"
        )
    placed = Affine.identity() if transform is None else transform
    left, bottom, right, top = bounds(shape)
    ends_x, ends_y = np.array([left, left, right, right]), np.array([bottom, top, bottom, top])
    back = ~placed
    columns = back.a * ends_x + back.b * ends_y + back.c
    rows = back.d * ends_x + back.e * ends_y + back.f
    first = max(math.floor(rows.min()), 0), max(math.floor(columns.min()), 0)
    last = (
        min(max(math.ceil(rows.max()), first[0] + 1), image.height),
        min(max(math.ceil(columns.max()), first[1] + 1), image.width),
    )
    size = last[0] - first[0], last[1] - first[1]
    if min(size) <= 0 or rows.max() < 0 or columns.max() < 0:
        raise UserError(
            f"{objects.path}: a region of {label!r} lies outside {image.file_name}; choose the picture's coordinates when "
            "you save it"
        )
    x, y = placed.a * first[1] + placed.b * first[0], placed.d * first[1] + placed.e * first[0]
    part = Affine(placed.a, placed.b, placed.c + x, placed.d, placed.e, placed.f + y)
    pixels = rasterize([(shape, 1)], out_shape=size, transform=part, dtype="uint8")
    objects.mask(image, label, pixels > 0, first)
