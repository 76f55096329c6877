"""CVAT's XML for images, version 1.1: an object per class as a mask, or per region as a polygon.

Its document types are not read: an entity could stand for gigabytes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Bool

from cascade_core.data.polygons import MOST_BYTES, CocoFile, CocoImage
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_text
from components.exchange.labelled import SOFTWARE, About, LabelledPicture, box_of
from components.exchange.objects import Objects
from components.exchange.outlines import one_ring, regions

HEAD = f'<?xml version="1.0" encoding="utf-8"?>\n<!-- {SOFTWARE} -->\n'
BEGINS = HEAD.encode()

Elements = Callable[[LabelledPicture, About], Iterator[tuple[int, str, Mapping[str, str]]]]
"""A function that yields class id, element and attributes of every object in a picture."""


def write_masks(stream: TextIO, pictures: Iterable[LabelledPicture], about: About) -> None:
    """Write a mask per class, which holds every pixel."""
    _write(stream, pictures, about, _masks)


def write_polygons(stream: TextIO, pictures: Iterable[LabelledPicture], about: About) -> None:
    """Write a polygon per region, along the edges of pixels."""
    _write(stream, pictures, about, _polygons)


def row_runs(mask: Bool[np.ndarray, "height width"]) -> list[int]:
    """Return run lengths row by row, background first."""
    ends = np.flatnonzero(np.diff(mask.ravel(), prepend=False))
    return np.diff(ends, prepend=0, append=mask.size).tolist()


def _masks(picture: LabelledPicture, about: About) -> Iterator[tuple[int, str, Mapping[str, str]]]:
    for i, mask in picture.masks(about):
        left, top, width, height = box_of(mask)
        box = mask[top : top + height, left : left + width]
        yield (
            i,
            "mask",
            {
                "rle": ", ".join(map(str, row_runs(box))),
                "left": str(left),
                "top": str(top),
                "width": str(width),
                "height": str(height),
            },
        )


def _polygons(picture: LabelledPicture, about: About) -> Iterator[tuple[int, str, Mapping[str, str]]]:
    for i, rings in regions(picture.label_map):
        if i < len(about.labels):
            points = one_ring(rings).astype(int).tolist()
            yield i, "polygon", {"points": ";".join(f"{x},{y}" for x, y in points)}


def _write(stream: TextIO, pictures: Iterable[LabelledPicture], about: About, elements: Elements) -> None:
    meta = ElementTree.Element("meta")
    labels = ElementTree.SubElement(ElementTree.SubElement(meta, "task"), "labels")
    for label in about.labels:
        ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = label
    stream.write(f"{HEAD}<annotations>\n<version>1.1</version>\n{_text(meta)}")
    for number, picture in enumerate(pictures):
        width, height = picture.size
        facts = {"id": str(number), "name": picture.file_name, "width": str(width), "height": str(height)}
        image = ElementTree.Element("image", facts)
        for i, element, attributes in elements(picture, about):
            shared = {"label": about.labels[i], "source": "auto", "occluded": "0", "z_order": "0"}
            ElementTree.SubElement(image, element, shared | dict(attributes))
        stream.write(_text(image))
    stream.write("</annotations>\n")


def _text(element: ElementTree.Element) -> str:
    ElementTree.indent(element)
    return ElementTree.tostring(element, encoding="unicode") + "\n"


def read(path: Path, images: Path) -> CocoFile:
    """Read CVAT's XML for images: masks, polygons and boxes.

    Raises:
        UserError: the file is unreadable or another one, or an object has no area, such as points.
    """
    content = read_text(path, "CVAT file", most=MOST_BYTES)
    if "<!DOCTYPE" in content:
        raise UserError(f"{path} declares a document type, which CVAT never does; export it anew")
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise UserError(f"{path} is no XML ({error}); export it from CVAT anew") from error
    if root.tag != "annotations" or root.find("track") is not None:
        raise UserError(f'{path} is no file of CVAT\'s pictures; export it as "CVAT for images 1.1"')
    objects = Objects(path)
    for element in root.iter("image"):
        name = element.get("name", "")
        try:
            size = int(element.attrib["width"]), int(element.attrib["height"])
            image = objects.picture(name, size)
            for item in element:
                _read_object(objects, image, item)
        except (KeyError, ValueError, OverflowError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path}: an object of {name!r} is broken ({error!r}); export it anew") from error
    return objects.file()


def _read_object(objects: Objects, image: CocoImage, item: ElementTree.Element) -> None:
    match item.tag:
        case "tag" | "attribute":
            return
        case "polygon":
            points = [
                [float(value) for value in point.split(",")] for point in item.attrib["points"].split(";")
            ]
            objects.polygon(image, item.attrib["label"], points)
        case "box" if not float(item.get("rotation", "0")):
            left, top, right, bottom = (float(item.attrib[end]) for end in ("xtl", "ytl", "xbr", "ybr"))
            corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
            objects.polygon(image, item.attrib["label"], corners)
        case "mask":
            rows, columns = int(item.attrib["height"]), int(item.attrib["width"])
            runs = np.array([int(run) for run in item.attrib["rle"].split(",")])
            if (
                rows > image.height
                or columns > image.width
                or (runs < 0).any()
                or runs.sum() != rows * columns
            ):
                raise ValueError(f"a mask of {columns}x{rows} pixels has {runs.sum()}")
            mask = (np.repeat(np.arange(len(runs)) % 2 == 1, runs)).reshape(rows, columns)
            corner = int(item.attrib["top"]), int(item.attrib["left"])
            objects.mask(image, item.attrib["label"], mask, corner)
        case other:
            raise UserError(
                f"{objects.path}: {image.file_name} has an object of the kind {other!r}; draw it as a mask, a polygon or a "
                "level box, or remove it"
            )
