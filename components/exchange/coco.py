"""COCO instances: for each picture an object per class, as run lengths or as the polygons of its regions."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TextIO

import numpy as np
from pycocotools import mask as masks

from components.exchange.labelled import SOFTWARE, About, LabelledPicture, box_of
from components.exchange.outlines import one_ring, regions

BEGINS = f'{{"info": {{"description": "{SOFTWARE}"'.encode()

Outlines = Callable[[LabelledPicture, About], Iterator[tuple[int, Any]]]
"""A function that yields the class ids of a picture, each with COCO's `segmentation`."""


def write_masks(stream: TextIO, pictures: Iterable[LabelledPicture], about: About) -> None:
    """Write run lengths, which hold every pixel."""
    _write(stream, pictures, about, _run_lengths)


def write_polygons(stream: TextIO, pictures: Iterable[LabelledPicture], about: About) -> None:
    """Write polygons along the edges of pixels, which hold every pixel too."""
    _write(stream, pictures, about, _polygons)


def _run_lengths(picture: LabelledPicture, about: About) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for i, mask in picture.masks(about):
        packed = masks.encode(np.asfortranarray(mask).view(np.uint8))
        yield i, {"size": [int(side) for side in packed["size"]], "counts": packed["counts"].decode()}


def _polygons(picture: LabelledPicture, about: About) -> Iterator[tuple[int, list[list[int]]]]:
    polygons: dict[int, list[list[int]]] = {}
    for i, rings in regions(picture.label_map):
        if i < len(about.labels):
            polygons.setdefault(i, []).append(one_ring(rings).astype(int).ravel().tolist())
    yield from sorted(polygons.items())


def _write(stream: TextIO, pictures: Iterable[LabelledPicture], about: About, outlines: Outlines) -> None:
    """Write the objects of one picture after the other; the list of pictures waits on the disk and comes last."""
    info = {"description": SOFTWARE, "version": about.model}
    categories = [{"id": i, "name": name} for i, name in enumerate(about.labels, start=1)]
    stream.write(
        f'{{"info": {json.dumps(info, allow_nan=False)}, "categories": {json.dumps(categories, allow_nan=False)}, "annotations": ['
    )
    count = 0
    with tempfile.TemporaryFile("w+", encoding="utf-8") as images:
        for number, picture in enumerate(pictures, start=1):
            width, height = picture.size
            image = {"id": number, "file_name": picture.file_name, "width": width, "height": height}
            images.write(f"{',' if number > 1 else ''}\n{json.dumps(image, allow_nan=False)}")
            for i, outline in outlines(picture, about):
                mask = picture.label_map == i
                annotation = {
                    "id": count + 1,
                    "image_id": number,
                    "category_id": i + 1,
                    "segmentation": outline,
                    "area": int(np.count_nonzero(mask)),
                    "bbox": box_of(mask),
                    "iscrowd": 0,
                    "score": picture.confidence.get(i),
                }
                stream.write(f"{',' if count else ''}\n{json.dumps(annotation, allow_nan=False)}")
                count += 1
        stream.write('\n], "images": [')
        images.seek(0)
        shutil.copyfileobj(images, stream)
    stream.write("\n]}\n")
