"""Pascal Context, 59 classes: photographs of VOC 2010 and the annotations of the Detail API, or ready PNGs.

Label maps are written as mmsegmentation's converter writes them, from which released weights come: 0 for
background, then the classes in alphabetical order. Both protocols read these maps, each into its own order.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from cascade_core.data.pictures import read_label_ids
from cascade_core.data.run_lengths import decode_mask
from cascade_core.data.sources.convert import Job
from cascade_core.data.sources.official import CONTEXT_JSON, VOC_2010, OfficialFile
from cascade_core.data.sources.parts import Part
from cascade_core.data.sources.plan import DataSet, Plan, Splits, read_names
from cascade_core.errors import UserError
from cascade_core.labels.class_lists import CONTEXT_59, CONTEXT_59_LITERATURE, VOC_20
from cascade_core.runtime.files import read_json

ROOT = "VOCdevkit/VOC2010"
MAPS, LISTS = "SegmentationClassContext", "ImageSets/SegmentationContext"
COMPARED = 500
"""Pictures of which VOC has label maps too that suffice to tell one class order from another."""

RAW_IDS = (
    2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158,
    159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366,
    368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458,
)  # fmt: skip
"""Ids of the 59 classes among the 459 of the annotations, in the order of `CONTEXT_59`, both alphabetical.

From mmsegmentation's tools/convert_datasets/pascal_context.py; not compared with the real file here. Where the
annotations name their categories, those names decide.
"""

_PHOTOGRAPHS = Part(
    what="photographs of VOC 2010",
    file=VOC_2010,
    into=ROOT,
    root=ROOT,
    take=("JPEGImages",),
    optional=("SegmentationClass",),
)
_READY = Part(
    what="label maps as PNG, with their lists",
    file=OfficialFile(
        "SegmentationClassContext.zip", "no official page: others' conversion of the annotations"
    ),
    into=ROOT,
    take=(MAPS, f"{LISTS}/train.txt", f"{LISTS}/val.txt"),
    suffix=".png",
)
_JSON = Part(what="annotations", file=CONTEXT_JSON, into="")


def requirements(splits: Splits) -> tuple[tuple[Part, ...], ...]:
    """Give what is needed, whichever the splits: photographs, and label maps or annotations."""
    return ((_PHOTOGRAPHS,), (_READY, _JSON))


def plan(raw: Path, splits: Splits) -> Plan:
    """Say which label maps are to be made from the annotations, and which lists.

    Raises:
        UserError: the annotations do not parse or lack a field, or a ready list is missing.
    """
    image_sets = {split: split for split in splits}
    annotations = raw / CONTEXT_JSON.name
    if not annotations.is_file():
        lists = {split: read_names(raw / ROOT / LISTS / f"{split}.txt") for split in splits}
        return Plan(counts={split: len(names) for split, names in lists.items()}, image_sets=image_sets)
    content = _read(annotations)
    images = {split: list(_images(content, split, annotations)) for split in splits}
    table, stated_by = category_table(content, annotations)
    shapes = _shapes(content, annotations)
    return Plan(
        counts={split: len(found) for split, found in images.items()},
        image_sets=image_sets,
        lists={
            f"{ROOT}/{LISTS}/{split}.txt": sorted(Path(image["file_name"]).stem for image in found)
            for split, found in images.items()
        },
        jobs=[
            Job(
                raw / ROOT / MAPS / f"{Path(image['file_name']).stem}.png",
                partial(draw, image, shapes.get(image["image_id"], []), table, annotations),
            )
            for found in images.values()
            for image in found
        ],
        notes={"category_ids": stated_by},
    )


def category_table(content: Mapping[str, Any], path: Path) -> tuple[dict[int, int], str]:
    """Give the id in label maps (1..59, background 0) of each category id, and who says so.

    Raises:
        UserError: the file names some of the classes only, and gives one another id than mmsegmentation does.
    """
    known = dict(zip(CONTEXT_59, RAW_IDS, strict=True))
    listed = (
        _items(content, "categories", path, {"name": str, "category_id": int})
        if "categories" in content
        else ()
    )
    named = {item["name"]: item["category_id"] for item in listed}
    own = {name: named[name] for name in CONTEXT_59 if name in named}
    if len(own) == len(CONTEXT_59):
        return {0: 0} | {own[name]: i for i, name in enumerate(CONTEXT_59, 1)}, f"categories of {path.name}"
    if strange := {name: raw for name, raw in own.items() if raw != known[name]}:
        raise UserError(
            f"{path}: categories give {strange}, expected { ({name: known[name] for name in strange}) }; these are "
            "annotations of another kind, give the published ones or ready PNGs"
        )
    return {0: 0} | {raw: i for i, raw in enumerate(RAW_IDS, 1)}, "mmsegmentation's converter"


def draw(
    image: Mapping[str, Any], shapes: Sequence[Mapping[str, Any]], table: Mapping[int, int], path: Path
) -> UInt8[np.ndarray, "height width"]:
    """Draw the annotations of a picture over each other in the order of the file, as the Detail API does.

    Raises:
        UserError: a mask is damaged or of another size, or a category is none of the 59.
    """
    ids = np.zeros((image["height"], image["width"]), dtype=np.uint8)
    for shape in shapes:
        where = f"{path}: annotation {shape.get('id')} of {image['file_name']}"
        if shape["category_id"] not in table:
            raise UserError(
                f"{where}: category {shape['category_id']} is none of the {len(table) - 1} classes"
            )
        try:
            mask = decode_mask(shape["segmentation"], ids.shape)
        except ValueError as error:
            raise UserError(f"{where}: {error}") from error
        ids[mask] = table[shape["category_id"]]
    return ids


def verify(raw: Path) -> dict[str, Any]:
    """Compare the numbering of the maps with VOC's own maps of the same pictures, where those are at hand.

    Count and range of the ids cannot tell the alphabetical order from the literature's, which has the same
    59 classes; pictures of which VOC says "cat" can.

    Raises:
        UserError: the maps agree better with the literature's order than with the alphabetical one.
    """
    pairs = sorted((raw / ROOT / "SegmentationClass").glob("*.png"))
    both = [(voc, maps) for voc in pairs if (maps := raw / ROOT / MAPS / voc.name).is_file()][:COMPARED]
    counts = sum((_together(voc, maps) for voc, maps in both), np.zeros((21, 61), dtype=np.int64))
    if not counts.any():
        return {"class_order": "unverified: no label map of VOC at hand to compare with"}
    shares = {
        "alphabetical": _agreement(counts, CONTEXT_59),
        "literature": _agreement(counts, CONTEXT_59_LITERATURE),
    }
    if shares["alphabetical"] <= shares["literature"]:
        raise UserError(
            f"{raw / ROOT / MAPS}: {shares['literature']:.0%} of VOC's pixels have the class they should if the "
            f"maps are numbered with VOC's classes first, {shares['alphabetical']:.0%} if alphabetically; they must be "
            "numbered alphabetically, 1 (aeroplane) to 59 (wood): convert them again from trainval_merged.json"
        )
    return {"class_order": f"{shares['alphabetical']:.0%} of VOC's pixels agree in {len(both)} pictures"}


def _together(voc: Path, context: Path) -> Int64[np.ndarray, "21 61"]:
    """Count the pixels of each pair of VOC's and Context's ids; all that is no class goes to row or column 0."""
    first, second = read_label_ids(voc).astype(np.int64), read_label_ids(context).astype(np.int64)
    if first.shape != second.shape:
        raise UserError(f"{context}: size {second.shape} differs from {first.shape} of {voc} (height, width)")
    first[first > len(VOC_20)] = 0
    second[second > len(CONTEXT_59)] = len(CONTEXT_59) + 1
    counts = np.bincount((61 * first + second).ravel(), minlength=21 * 61).reshape(21, 61)
    counts[0] = 0
    return counts


def _agreement(counts: Int64[np.ndarray, "21 61"], order: Sequence[str]) -> float:
    """Give the share of VOC's pixels that a class order calls by the same name."""
    ids = [1 + order.index("table" if name == "diningtable" else name) for name in VOC_20]
    return float(counts[np.arange(1, 21), ids].sum() / counts.sum())


def _read(annotations: Path) -> Any:
    try:
        return read_json(annotations)
    except ValueError as error:
        raise UserError(
            f"{error}; fetch it again from {CONTEXT_JSON.page}, and give it with an empty --raw"
        ) from error


def _images(content: Any, split: str, path: Path) -> Iterator[Mapping[str, Any]]:
    fields = {"image_id": int, "file_name": str, "phase": str, "height": int, "width": int}
    yield from (image for image in _items(content, "images", path, fields) if image["phase"] == split)


def _shapes(content: Any, path: Path) -> dict[Any, list[Mapping[str, Any]]]:
    found: dict[Any, list[Mapping[str, Any]]] = {}
    fields = {"image_id": int, "category_id": int, "segmentation": dict}
    for shape in _items(content, "annos_segmentation", path, fields):
        found.setdefault(shape["image_id"], []).append(shape)
    return found


def _items(content: Any, name: str, path: Path, fields: Mapping[str, type]) -> Iterator[Mapping[str, Any]]:
    """Give the mappings of a list in the file, each of which has `fields` of these types."""
    items = content.get(name) if isinstance(content, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UserError(f"{path} has no list of mappings {name!r}; {_EXPECTED}")
    for number, item in enumerate(items):
        if missing := [field for field in fields if field not in item]:
            raise UserError(f"{path}: {name}[{number}] lacks {', '.join(missing)}; {_EXPECTED}")
        for field, kind in fields.items():
            if not isinstance(item[field], kind):
                raise UserError(
                    f"{path}: {name}[{number}].{field} is {item[field]!r}, no {kind.__name__}; {_EXPECTED}"
                )
        yield item


_EXPECTED = f"expected the annotations of the Detail API, {CONTEXT_JSON.name}"

CONTEXT = DataSet(
    name="context",
    title="Pascal Context",
    protocols=("context59-released", "context59-literature", "context59", "context60"),
    counts={"train": 4_996, "val": 5_104},
    root=ROOT,
    requirements=requirements,
    plan=plan,
    verify=verify,
)
