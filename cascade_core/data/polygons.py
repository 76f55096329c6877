"""Read object annotations in COCO's JSON format, and draw their polygons and run-length masks into label maps."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8
from pydantic import BaseModel, Field, ValidationError, field_validator

from cascade_core.data.picture_names import bare, comparable
from cascade_core.data.run_lengths import checked_runs, decode_runs
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_text
from cascade_core.runtime.listing import check_unique, same_name, short_list
from cascade_core.runtime.validation import sentence

MOST_BYTES = 2**31
"""Limit on a file of instances; that of COCO's 118,287 training pictures has 449 million bytes."""
MOST_OUTLINE = 4_000_000
"""Limit on an outline's length in pixels; drawing takes about 100 bytes for each pixel."""


class CocoRle(BaseModel, frozen=True):
    """A mask as run lengths, column by column: numbers, or COCO's text form of them."""

    size: tuple[int, int]
    counts: list[int] | str


class CocoImage(BaseModel, frozen=True):
    """A picture; `file_name` is relative to the folder of pictures."""

    id: int
    file_name: str = Field(max_length=1024)
    width: int = Field(gt=0)
    height: int = Field(gt=0)

    @field_validator("file_name")
    @classmethod
    def _check_separator(cls, name: str) -> str:
        if "\\" in name:
            raise UserError("backslashes separate folders on Windows only; write / instead")
        return name


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
        UserError: the file is missing, not in COCO's format, or uses an id or a name twice; the message names up to ten
            fields.
    """
    content = read_text(path, "COCO file", most=MOST_BYTES)
    try:
        coco = CocoFile.model_validate_json(content)
    except ValidationError as error:
        problems = short_list([sentence(problem) for problem in error.errors()], most=10, separator="; ")
        raise UserError(f"{path} is no file of COCO instances: {problems}; export it anew") from error
    check_ids(coco, path)
    return coco


def check_ids(coco: CocoFile, path: Path) -> None:
    """Check that the ids and names that join the records are unique.

    They are not in files that were joined without renumbering; there, pictures would get each other's objects.

    Raises:
        UserError: one is not.
    """
    remedy = "give every record an id of its own; files that are joined must be renumbered"
    objects = ((item.id, f"an object of picture {item.image_id}") for item in coco.annotations)
    check_unique(
        ((item.id, item.file_name) for item in coco.images), what=f"{path}: picture id", way_out=remedy
    )
    check_unique(objects, what=f"{path}: annotation id", way_out=remedy)
    check_unique(
        ((item.id, item.name) for item in coco.categories), what=f"{path}: category id", way_out=remedy
    )
    check_unique(
        ((same_name(item.name), f"category {item.id}") for item in coco.categories),
        what=f"{path}: the name",
        way_out="make them one category, or rename one",
    )
    check_unique(
        ((comparable(item.file_name), f"picture {item.id}") for item in coco.images),
        what=f"{path}: the file",
        way_out="list a picture once, with all its objects",
    )
    check_unique(
        ((bare(item.file_name), item.file_name) for item in coco.images),
        what=f"{path}: the label map",
        way_out="rename one of the pictures",
    )


def raw_ids(
    categories: Sequence[CocoCategory], names: Mapping[str, int]
) -> tuple[dict[int, int], dict[int, str]]:
    """Look up the label map id of each category in `names`, which include synonyms; case is ignored.

    Returns:
        Two mappings from category ids: to label map ids, and, for categories that `names` lacks, to their names.
    """
    folded = {same_name(name): raw for name, raw in names.items()}
    keys = {category.id: same_name(category.name) for category in categories}
    ids = {number: folded[key] for number, key in keys.items() if key in folded}
    return ids, {category.id: category.name for category in categories if category.id not in ids}


def draw(
    image: CocoImage,
    annotations: Sequence[CocoAnnotation],
    ids: Mapping[int, int],
    *,
    elsewhere: int,
    too_small: Callable[[CocoAnnotation], None] = lambda annotation: None,
) -> UInt8[np.ndarray, "height width"]:
    """Draw objects into a label map; pixels without an object get the id `elsewhere`.

    Larger objects are drawn first, so that a smaller one on top, such as a cup on a table, stays whole. An outline
    covers the pixels that COCO's own tools give it; `too_small` is called with each one that covers none.

    Raises:
        UserError: an outline is empty, broken or of another size; the message names the annotation.
    """
    shape = (image.height, image.width)
    label_map = np.full(shape, elsewhere, dtype=np.uint8)
    objects = []
    for annotation in annotations:
        runs = _runs(image, annotation)
        objects.append((runs, ids[annotation.category_id]))
        if not runs[1::2].any():
            too_small(annotation)
    # Only one mask at a time is as large as the picture.
    for runs, raw in sorted(objects, key=lambda pair: -int(pair[0][1::2].sum())):
        label_map[decode_runs(runs, shape)] = raw
    return label_map


def _runs(image: CocoImage, annotation: CocoAnnotation) -> Int64[np.ndarray, " runs"]:
    outline = annotation.segmentation
    try:
        packed = outline.model_dump() if isinstance(outline, CocoRle) else _packed(outline, image)
        return checked_runs(packed, (image.height, image.width))
    except UserError as error:
        raise UserError(f"{image.file_name}: annotation {annotation.id}: {error}") from error


def _packed(outline: list[list[float]], image: CocoImage) -> dict[str, Any]:
    """Convert polygons to run lengths with COCO's own tools."""
    from pycocotools import mask as masks

    if not outline or any(len(polygon) < 6 or len(polygon) % 2 for polygon in outline):
        raise UserError("it has no polygon of at least three points (x, y); draw it anew, or remove it")
    corners = np.concatenate(outline)
    # The memory for an outline grows with its length, so refuse outlines in other units before drawing.
    if not (np.isfinite(corners) & (np.abs(corners) <= 2 * max(image.width, image.height))).all():
        raise UserError(
            f"it has corners far outside the picture of {image.width}x{image.height}; polygons are in its pixels"
        )
    length = sum(np.abs(np.diff(polygon, axis=0, append=polygon[:1])).max(axis=1).sum() for polygon in
                 (np.reshape(polygon, (-1, 2)) for polygon in outline))  # fmt: skip
    if length > MOST_OUTLINE:
        raise UserError(
            f"its outline is {length:,.0f} pixels long, more than {MOST_OUTLINE:,}; draw it anew, or remove it"
        )
    merged = masks.merge(masks.frPyObjects(outline, image.height, image.width))
    return {"size": merged["size"], "counts": merged["counts"].decode()}
