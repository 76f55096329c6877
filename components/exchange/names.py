"""The names of the formats, which the command line needs before any other package."""

from enum import StrEnum


class FormatName(StrEnum):
    """What `--format` takes; `png` is the label maps and JSON alone."""

    PNG = "png"
    JSON = "json"
    COCO = "coco"
    COCO_POLYGONS = "coco-polygons"
    GEOJSON = "geojson"
    LABEL_STUDIO = "label-studio"
    LABEL_STUDIO_POLYGONS = "label-studio-polygons"
    CVAT = "cvat"
    CVAT_POLYGONS = "cvat-polygons"
