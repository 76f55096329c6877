"""Label Studio's JSON: tasks with predictions, as brush masks or polygons; and its export of annotated tasks."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote, unquote

import numpy as np

from cascade_core.data.polygons import MOST_BYTES, CocoFile, CocoImage
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json
from cascade_core.runtime.listing import brief
from components.exchange.brush import decode_brush, encode_brush
from components.exchange.labelled import SOFTWARE, About, LabelledPicture
from components.exchange.objects import Objects, PicturesBelow
from components.exchange.outlines import one_ring, regions

BEGINS = f'[\n{{"predictions": [{{"model_version": "{SOFTWARE}'.encode()
STORED = "/data/local-files/?d="
"""The address of a picture in Label Studio's local storage, before its path below the root."""
CONTROL, PICTURE = "label", "image"
"""The names of the control and of the picture in the labelling configuration."""

Values = Callable[[LabelledPicture, About], Iterator[tuple[int, str, Mapping[str, Any]]]]
"""A function that yields class id, type and value of every object in a picture."""


def write_masks(stream: TextIO, pictures: Iterable[LabelledPicture], about: About) -> None:
    """Write a brush mask per class, which holds every pixel."""
    _write(stream, pictures, about, _brushes)


def write_polygons(stream: TextIO, pictures: Iterable[LabelledPicture], about: About) -> None:
    """Write a polygon per region, along the edges of pixels, in percent of the picture."""
    _write(stream, pictures, about, _polygons)


def _brushes(picture: LabelledPicture, about: About) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    for i, mask in picture.masks(about):
        yield i, "brushlabels", {"format": "rle", "rle": encode_brush(mask)}


def _polygons(picture: LabelledPicture, about: About) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    for i, rings in regions(picture.label_map):
        if i < len(about.labels):
            points = one_ring(rings) * 100 / picture.size
            yield i, "polygonlabels", {"points": points.tolist(), "closed": True}


def _write(stream: TextIO, pictures: Iterable[LabelledPicture], about: About, values: Values) -> None:
    stream.write("[\n")
    for number, picture in enumerate(pictures):
        width, height = picture.size
        results = [
            {
                "id": f"{number}-{i}",
                "type": kind,
                "from_name": CONTROL,
                "to_name": PICTURE,
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "score": picture.confidence.get(label),
                "value": {**value, kind: [about.labels[label]]},
            }
            for i, (label, kind, value) in enumerate(values(picture, about))
        ]
        prediction = {"model_version": f"{SOFTWARE} {about.model}", "result": results}
        data = {PICTURE: f"{STORED}{quote(picture.file_name)}", "file_name": picture.file_name}
        task = json.dumps({"predictions": [prediction], "data": data}, allow_nan=False)
        stream.write(f",\n{task}" if number else task)
    stream.write("\n]\n")


def read(path: Path, images: Path) -> CocoFile:
    """Read an export of Label Studio (JSON, not JSON-MIN): brush masks, polygons and rectangles.

    The annotation of a task counts, or its prediction where nobody annotated it; cancelled annotations do not count.

    Raises:
        UserError: the file is unreadable or another one, a task has several annotations or no picture below `images`, or
            an object has no area.
    """
    tasks = read_json(path, most=MOST_BYTES)
    objects, pictures = Objects(path), PicturesBelow(images, path)
    for number, task in enumerate(tasks, start=1):
        try:
            _read_task(objects, pictures, task)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{path}: task {number} is no task of Label Studio ({error!r}); export it anew as JSON"
            ) from error
    return objects.file()


def _read_task(objects: Objects, pictures: PicturesBelow, task: Mapping[str, Any]) -> None:
    name = _picture_of(task["data"], pictures)
    annotations = [one for one in task.get("annotations") or () if not one.get("was_cancelled")]
    sources = annotations or task.get("predictions") or [{"result": []}]
    if len(sources) > 1:
        kind = "annotations" if annotations else "predictions"
        raise UserError(f"{objects.path}: the task of {name} has {len(sources)} {kind}; keep one of them")
    results = [one for one in sources[0]["result"] if "original_width" in one]
    sizes = {(int(one["original_width"]), int(one["original_height"])) for one in results}
    image = objects.picture(name, sizes.pop() if len(sizes) == 1 else pictures.size(name))
    for result in results:
        _read_object(objects, image, result)


def _picture_of(data: Mapping[str, Any], pictures: PicturesBelow) -> str:
    """Return the name of a task's picture: the one that `predict` wrote, or the picture that an address ends with.

    Label Studio puts a mark before the name of an uploaded picture, as in 1a2b3c4d-name.jpg.
    """
    if "file_name" in data:
        return str(data["file_name"])
    addresses = [unquote(value) for value in data.values() if isinstance(value, str)]
    for address in addresses:
        if name := pictures.ending(address.split("?d=")[-1]):
            return name
    raise UserError(
        f"{pictures.path}: no picture below {pictures.images} has the name that ends {' or '.join(addresses) or 'its address'}"
    )


def _read_object(objects: Objects, image: CocoImage, result: Mapping[str, Any]) -> None:
    kind, value = result["type"], result["value"]
    where = f"{objects.path}: an object of {image.file_name}"
    if result.get("image_rotation"):
        raise UserError(f"{where} is on a turned picture; turn it back")
    if kind not in ("brushlabels", "polygonlabels", "rectanglelabels"):
        raise UserError(
            f"{where} is of the kind {kind!r}; draw it with a labelled brush, polygon or rectangle, or remove it"
        )
    labels = value[kind]
    if len(labels) != 1 or not isinstance(labels[0], str):
        raise UserError(f"{where} has the labels {brief(labels)}; give it one")
    if kind == "brushlabels":
        try:
            mask = decode_brush(value["rle"], (image.height, image.width))
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        objects.mask(image, labels[0], mask)
        return
    size = np.array([image.width, image.height]) / 100
    corners = (
        np.array(value["points"], dtype=float) * size if kind == "polygonlabels" else _corners(value) * size
    )
    if kind == "rectanglelabels" and (angle := np.deg2rad(float(value.get("rotation", 0)))):
        turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        corners = corners[0] + (corners - corners[0]) @ turned  # clockwise around the upper left corner
    objects.polygon(image, labels[0], corners.tolist())


def _corners(value: Mapping[str, Any]) -> np.ndarray:
    left, top = float(value["x"]), float(value["y"])
    right, bottom = left + float(value["width"]), top + float(value["height"])
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
