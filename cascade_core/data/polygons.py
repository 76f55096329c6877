"""Read object annotations in COCO's JSON format, and draw their polygons and run-length masks into label maps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from pycocotools import mask as masks
from pydantic import BaseModel, Field, ValidationError

from cascade_core.data.run_lengths import decode_mask
from cascade_core.errors import UserError
from cascade_core.runtime.listing import short_list
from cascade_core.runtime.validation import sentence


class CocoRle(BaseModel, frozen=True):
    """A mask as run lengths, column by column: numbers, or COCO's text form of them."""

    size: tuple[int, int]
    counts: list[int] | str


class CocoImage(BaseModel, frozen=True):
    """A picture; `file_name` is relative to the folder of pictures."""

    id: int
    file_name: str
    width: int = Field(gt=0)
    height: int = Field(gt=0)


class CocoAnnotation(BaseModel, frozen=True):
    """An object in a picture: its category and its outline."""

    id: int
    image_id: int
    category_id: int
    segmentation: list[list[float]] | CocoRle


class CocoCategory(BaseModel, frozen=True):
    """The name of a category."""

    id: int
    name: str


class CocoFile(BaseModel, frozen=True):
    """A file of instances in COCO's format; other keys of the file are ignored."""

    images: tuple[CocoImage, ...]
    annotations: tuple[CocoAnnotation, ...]
    categories: tuple[CocoCategory, ...]

    def by_image(self) -> dict[int, list[CocoAnnotation]]:
        """Group the annotations by the id of their picture; a picture without annotations has an empty list."""
        groups: dict[int, list[CocoAnnotation]] = {image.id: [] for image in self.images}
        for annotation in self.annotations:
            groups.setdefault(annotation.image_id, []).append(annotation)
        return groups


def read_coco(path: Path) -> CocoFile:
    """Read a file of instances.

    Raises:
        UserError: the file is missing or not in COCO's format; the message names up to ten fields.
    """
    try:
        return CocoFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path") from error
    except ValidationError as error:
        problems = short_list([sentence(problem) for problem in error.errors()], most=10, separator="; ")
        raise UserError(f"{path} is no file of COCO instances: {problems}; export it anew") from error


def raw_ids(
    categories: Sequence[CocoCategory], names: Mapping[str, int]
) -> tuple[dict[int, int], dict[int, str]]:
    """Look up the label map id of each category in `names`, which include synonyms; case is ignored.

    Returns:
        Two mappings from category ids: to label map ids, and, for categories that `names` lacks, to their names.
    """
    folded = {name.casefold(): raw for name, raw in names.items()}
    keys = {category.id: " ".join(category.name.split()).casefold() for category in categories}
    ids = {number: folded[key] for number, key in keys.items() if key in folded}
    return ids, {category.id: category.name for category in categories if category.id not in ids}


def draw(
    image: CocoImage, annotations: Sequence[CocoAnnotation], ids: Mapping[int, int], *, elsewhere: int
) -> UInt8[np.ndarray, "height width"]:
    """Draw objects into a label map; pixels without an object get the id `elsewhere`.

    Larger objects are drawn first, so that a smaller one on top, such as a cup on a table, stays whole. An outline
    covers the pixels that COCO's own tools give it.

    Raises:
        UserError: an outline is empty, broken or of another size; the message names the annotation.
    """
    label_map = np.full((image.height, image.width), elsewhere, dtype=np.uint8)
    objects = [(_mask(image, annotation), ids[annotation.category_id]) for annotation in annotations]
    for mask, raw in sorted(objects, key=lambda pair: -int(pair[0].sum())):
        label_map[mask] = raw
    return label_map


def _mask(image: CocoImage, annotation: CocoAnnotation) -> Bool[np.ndarray, "height width"]:
    outline = annotation.segmentation
    try:
        runs = outline.model_dump() if isinstance(outline, CocoRle) else _packed(outline, image)
        return decode_mask(runs, (image.height, image.width))
    except UserError as error:
        raise UserError(f"{image.file_name}: annotation {annotation.id}: {error}") from error


def _packed(outline: list[list[float]], image: CocoImage) -> dict[str, Any]:
    """Convert polygons to run lengths with COCO's own tools."""
    if not outline or any(len(polygon) < 6 or len(polygon) % 2 for polygon in outline):
        raise UserError("it has no polygon of at least three points (x, y); draw it anew, or remove it")
    corners = np.concatenate(outline)
    # The memory for an outline grows with its length, so refuse outlines in other units before drawing.
    if not (np.isfinite(corners) & (np.abs(corners) <= 2 * max(image.width, image.height))).all():
        raise UserError(
            f"it has corners far outside the picture of {image.width}x{image.height}; polygons are in its pixels"
        )
    merged = masks.merge(masks.frPyObjects(outline, image.height, image.width))
    return {"size": merged["size"], "counts": merged["counts"].decode()}
