"""GeoJSON: a feature per region, in the coordinates of a raster or in pixels of a picture."""

import json
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
from components.rasters.reading import has_place, opened

BEGINS = f'{{"type": "FeatureCollection", "name": "{SOFTWARE}"'.encode()

FARTHEST = 10**7
"""The limit on corners from a picture's upper left one, in pixels."""


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
        f'{{"type": "FeatureCollection", "name": "{SOFTWARE}", "crs": {json.dumps(named, allow_nan=False)}, "features": ['
    )
    for number, feature in enumerate(features):
        stream.write(f"{',' if number else ''}\n{json.dumps(feature, allow_nan=False)}")
    stream.write("\n]}\n")


def read(path: Path, images: Path) -> CocoFile:
    """Read features with a `label` and the `picture` that they are of; without it they are of the only one below `images`.

    Coordinates are those of the picture if it has a georeference, unless a feature is `in_pixels`. A pixel belongs to the
    feature that its centre lies in.

    Raises:
        UserError: the file is unreadable or another one, or a feature has no area, label or picture.
    """
    content = read_json(path, most=MOST_BYTES)
    if not isinstance(content, dict) or not isinstance(content.get("features"), list):
        raise UserError(f"{path} has no list of features; save it as GeoJSON anew")
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
                _read_object(objects, image, _label(properties), shape, placed)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{where} is broken ({error!r}); a region has a geometry and a property label"
            ) from error
    return objects.file()


def _label(properties: Mapping[str, Any]) -> str:
    if not isinstance(label := properties["label"], str):
        raise TypeError(f"the label {label!r} is no text")
    return label


def _placed(picture: Path) -> Any:
    """Return the transform from a picture's pixels to its coordinates, or None without georeference."""
    with opened(picture) as file:
        return file.transform if has_place(file) else None


def _read_object(
    objects: Objects, image: CocoImage, label: str, shape: Mapping[str, Any], transform: Any
) -> None:
    """Add the pixels of a shape, drawn in the part of the picture around it."""
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    where = f"{objects.path}: a region of {label!r} in {image.file_name}"
    if shape["type"] not in ("Polygon", "MultiPolygon"):
        raise UserError(f"{where} is a {shape['type']}; draw it as a polygon, or remove it")
    parts = [shape["coordinates"]] if shape["type"] == "Polygon" else shape["coordinates"]
    back = Affine.identity() if transform is None else ~transform
    polygons = [[_in_pixels(ring, back) for ring in part] for part in parts]
    if not polygons or not all(polygons) or any(len(ring) < 4 for rings in polygons for ring in rings):
        raise UserError(f"{where} has a ring without three points; draw it anew, or remove it")
    corners = np.concatenate([ring for rings in polygons for ring in rings])
    sides = np.array([image.width, image.height])
    start, end = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
    # GDAL counts in 32 bits, so it gets no corner from anywhere.
    if (
        not (np.isfinite(corners) & (np.abs(corners) < FARTHEST)).all()
        or (end < 0).any()
        or (start > sides).any()
    ):
        raise UserError(f"{where} lies outside it; choose the picture's coordinates when you save the file")
    left, top = np.minimum(np.maximum(start, 0), sides - 1).astype(int).tolist()
    right, bottom = np.minimum(np.maximum(end, (left + 1, top + 1)), sides).astype(int).tolist()
    moved = [[(ring - (left, top)).tolist() for ring in rings] for rings in polygons]
    pixels = rasterize(
        [({"type": "MultiPolygon", "coordinates": moved}, 1)],
        out_shape=(bottom - top, right - left),
        dtype="uint8",
    )
    objects.mask(image, label, pixels > 0, (top, left))


def _in_pixels(ring: Sequence[Sequence[float]], back: Any) -> Ring:
    """Return a ring in pixels by the transform from coordinates; a height of its corners does not count."""
    x, y = np.array([[float(value) for value in corner[:2]] for corner in ring]).reshape(-1, 2).T
    with np.errstate(invalid="ignore", over="ignore"):  # checked afterwards
        return np.stack([back.a * x + back.b * y + back.c, back.d * x + back.e * y + back.f], axis=1)
