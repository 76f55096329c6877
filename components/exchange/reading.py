"""Read objects from a file of COCO, CVAT, Label Studio or GeoJSON; its content says which of them it is."""

from pathlib import Path

from cascade_core.data.polygons import CocoFile, read_coco
from cascade_core.errors import UserError
from cascade_core.runtime.listing import shortened

HEAD_BYTES = 4096
LONGEST = 1000
"""The most letters of a sentence on a broken file, which quotes values of the file."""


def read_objects(path: Path, images: Path) -> CocoFile:
    """Read the objects of the pictures below `images` as COCO's records.

    Raises:
        UserError: the file is missing or broken, or none of these formats.
    """
    try:
        match _beginning(path):
            case "<":
                from components.exchange import cvat

                return cvat.read(path, images)
            case "[":
                from components.exchange import label_studio

                return label_studio.read(path, images)
            case "FeatureCollection":
                from components.exchange import geojson

                return geojson.read(path, images)
        return read_coco(path)
    except UserError as error:
        raise UserError(shortened(str(error), most=LONGEST)) from error


def _beginning(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError:
        return ""  # The reader says why.
    return "FeatureCollection" if b'"FeatureCollection"' in head else head[:1].decode(errors="replace")
