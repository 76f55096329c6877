"""Object annotations in COCO's JSON format, polygons and run-length masks, drawn into label maps."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from pycocotools import mask as masks
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cascade_core.data.run_lengths import decode_mask
from cascade_core.errors import UserError
from cascade_core.runtime.listing import short_list
from cascade_core.runtime.validation import sentence

SHOWN_ERRORS = 10


class CocoRle(BaseModel):
    """A mask as run lengths, down the columns: numbers, or COCO's text of them."""

    model_config = ConfigDict(frozen=True)

    size: tuple[int, int]
    counts: list[int] | str


class CocoImage(BaseModel):
    """A picture that annotations are of; `file_name` is relative to the folder of pictures."""

    model_config = ConfigDict(frozen=True)

    id: int
    file_name: str
    width: int = Field(gt=0)
    height: int = Field(gt=0)


class CocoAnnotation(BaseModel):
    """One object: its picture, category and outline."""

    model_config = ConfigDict(frozen=True)

    id: int
    image_id: int
    category_id: int
    segmentation: list[list[float]] | CocoRle


class CocoCategory(BaseModel):
    """The name of a category."""

    model_config = ConfigDict(frozen=True)

    id: int
    name: str


class CocoFile(BaseModel):
    """What is read of a file of instances; its other keys are left alone."""

    model_config = ConfigDict(frozen=True)

    images: tuple[CocoImage, ...]
    annotations: tuple[CocoAnnotation, ...]
    categories: tuple[CocoCategory, ...]

    def by_image(self) -> dict[int, list[CocoAnnotation]]:
        """Give the annotations of every picture, none for one without."""
        found: dict[int, list[CocoAnnotation]] = {image.id: [] for image in self.images}
        for annotation in self.annotations:
            found.setdefault(annotation.image_id, []).append(annotation)
        return found


def read_coco(path: Path) -> CocoFile:
    """Read a file of instances.

    Raises:
        UserError: it is missing, or not of COCO's format; the message names up to ten fields.
    """
    try:
        return CocoFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path") from error
    except ValidationError as error:
        problems = short_list([sentence(one) for one in error.errors()], most=SHOWN_ERRORS, separator="; ")
        raise UserError(f"{path} is no file of COCO instances: {problems}; export it anew") from error


def raw_ids(
    categories: Iterable[CocoCategory], names: Mapping[str, int]
) -> tuple[dict[int, int], dict[int, str]]:
    """Give the label map id of each category whose name, or a synonym of it, is known, case ignored; and all others by name."""
    folded = {name.casefold(): raw for name, raw in names.items()}
    known: dict[int, int] = {}
    others: dict[int, str] = {}
    for category in categories:
        raw = folded.get(" ".join(category.name.split()).casefold())
        if raw is None:
            others[category.id] = category.name
        else:
            known[category.id] = raw
    return known, others


def draw(
    image: CocoImage, annotations: Sequence[CocoAnnotation], ids: Mapping[int, int], *, elsewhere: int
) -> UInt8[np.ndarray, "height width"]:
    """Draw objects into a label map that holds `elsewhere` where there is none, the larger first.

    So the smaller of two that overlap stays whole, as a cup on a table. Pixels are those that COCO's own
    tools give an outline.

    Raises:
        UserError: an outline is empty, broken or of another size; the message names the annotation.
    """
    label_map = np.full((image.height, image.width), elsewhere, dtype=np.uint8)
    drawn = [(_mask(image, annotation), ids[annotation.category_id]) for annotation in annotations]
    for mask, raw in sorted(drawn, key=lambda one: -int(one[0].sum())):
        label_map[mask] = raw
    return label_map


def _mask(image: CocoImage, annotation: CocoAnnotation) -> Bool[np.ndarray, "height width"]:
    outline, where = annotation.segmentation, f"{image.file_name}: annotation {annotation.id}"
    shape = (image.height, image.width)
    try:
        if isinstance(outline, CocoRle):
            return decode_mask(outline.model_dump(), shape)
        return decode_mask(_packed(outline, image), shape)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _packed(outline: list[list[float]], image: CocoImage) -> dict[str, Any]:
    """Draw polygons with COCO's own tools, into run lengths."""
    if not outline or any(len(polygon) < 6 or len(polygon) % 2 for polygon in outline):
        raise UserError("it has no polygon of at least three points (x, y); draw it anew, or remove it")
    corners = np.concatenate(outline)
    # Memory for an outline grows with its length: one of another scale is told before it is drawn.
    if not (np.isfinite(corners) & (np.abs(corners) <= 2 * max(image.width, image.height))).all():
        raise UserError(
            f"it has corners far outside the picture of {image.width}x{image.height}; polygons are in its pixels"
        )
    parts = masks.frPyObjects(outline, image.height, image.width)
    merged = masks.merge(parts)
    return {"size": merged["size"], "counts": merged["counts"].decode()}
