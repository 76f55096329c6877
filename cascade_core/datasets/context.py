"""Pascal Context, 59 classes: photographs of VOC 2010 and the annotations of the Detail API, or ready PNGs.

Label maps are written as by mmsegmentation's converter, which made the maps for the released weights: 0 for background,
then the classes in alphabetical order. Both protocols with unseen classes read these label maps, but their class
orders and unseen classes differ: the released code applies the literature's unseen *indices* to an alphabetical list.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from cascade_core.data.layouts import VocLayout
from cascade_core.data.picture_names import bare
from cascade_core.data.sources.official import OfficialFile
from cascade_core.data.sources.part_search import Part
from cascade_core.data.sources.plan import Job, Plan, Splits, read_names
from cascade_core.datasets import voc12
from cascade_core.datasets.data_set import DataSet, Release, class_names
from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_set import LabelSet, ranked_table, reduce_zero_table
from cascade_core.runtime.files import read_json
from cascade_core.runtime.listing import brief, check_unique

LITERATURE_CLASSES = class_names(
    """
    aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, table, dog, horse, motorbike, person,
    pottedplant, sheep, sofa, train, tvmonitor, bag, bed, bench, book, building, cabinet, ceiling, cloth,
    computer, cup, door, fence, floor, flower, food, grass, ground, keyboard, light, mountain, mouse,
    curtain, platform, sign, plate, road, rock, shelves, sidewalk, sky, snow, bedclothes, track, tree,
    truck, wall, water, window, wood
    """
)
"""The classes without background in the literature's order, with those of VOC first."""
CLASSES = tuple(sorted(LITERATURE_CLASSES))
"""The same classes in alphabetical order, as in the released weights."""
LITERATURE_UNSEEN = class_names(
    "aeroplane, bird, boat, cat, cow, motorbike, sofa, tvmonitor, fence, keyboard"
)
UNSEEN = tuple(CLASSES[LITERATURE_CLASSES.index(name)] for name in LITERATURE_UNSEEN)
"""The classes at the literature's unseen indices in alphabetical order, as the released code takes them."""
_LABELS = LabelSet("context59", CLASSES, reduce_zero_table(len(CLASSES)), background_ids=(0,))
_LITERATURE_LABELS = LabelSet(
    "context59-literature",
    LITERATURE_CLASSES,
    ranked_table([1 + CLASSES.index(name) for name in LITERATURE_CLASSES], ignored=(0,)),
    background_ids=(0,),
)

ROOT = "VOCdevkit/VOC2010"
MAPS, LISTS = "SegmentationClassContext", "ImageSets/SegmentationContext"
COMPARED = 500
"""The number of pictures with label maps of VOC that suffices to distinguish two class orders."""

RAW_IDS = (
    2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158,
    159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366,
    368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458,
)  # fmt: skip
"""The ids of `CLASSES` among the 459 categories of the annotations, both alphabetical.

They come from mmsegmentation's tools/convert_datasets/pascal_context.py and were not compared with the real file. If
the annotations name their categories, those names decide.
"""

_PHOTOGRAPHS = Part(
    what="photographs of VOC 2010",
    file=OfficialFile(
        "VOCtrainval_03-May-2010.tar",
        "'The PASCAL Visual Object Classes Challenge 2010' (Development Kit: training/validation data)",
        digest="md5:da459979d0c395079b5c75ee67908abb",
        stated="torchvision.datasets.VOCSegmentation",
    ),
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
_ANNOTATIONS = OfficialFile(
    "trainval_merged.json",
    "'PASCAL in Detail' (annotations of the Detail API)",
    digest="sha1:169325d9f7e9047537fedca7b04de4dddf10b881",
    stated="gluoncv's pascal context script",
)
_MOST_ANNOTATIONS = 2**30
"""Bytes; gluoncv states no size of the file, which lists the outlines of 10,103 pictures."""


def requirements(splits: Splits) -> tuple[tuple[Part, ...], ...]:
    """Return the photographs, and as alternatives label maps and annotations; all splits need the same."""
    return ((_PHOTOGRAPHS,), (_READY, Part(what="annotations", file=_ANNOTATIONS, into="")))


def plan(raw: Path, splits: Splits) -> Plan:
    """Plan the label maps and image lists that the annotations give.

    Raises:
        UserError: the annotations do not parse or lack a field, or a list of ready label maps is missing.
    """
    from cascade_core.datasets.context_maps import draw  # slow to import

    image_sets = {split: split for split in splits}
    annotations = raw / _ANNOTATIONS.name
    if not annotations.is_file():
        lists = {split: read_names(raw / ROOT / LISTS / f"{split}.txt") for split in splits}
        return Plan(counts={split: len(names) for split, names in lists.items()}, image_sets=image_sets)
    try:
        content = read_json(annotations, most=_MOST_ANNOTATIONS)
    except UserError as error:
        remedy = f"fetch it again from {_ANNOTATIONS.page}, and give it with an empty --raw"
        raise UserError(f"{error}; {remedy}") from error
    fields = {"image_id": int, "file_name": str, "phase": str, "height": int, "width": int}
    listed = list(_items(content, "images", annotations, fields))
    for key in (lambda image: image["image_id"], lambda image: bare(Path(image["file_name"]).name)):
        check_unique(
            ((key(image), image["file_name"]) for image in listed),
            what=f"{annotations}: the id or name",
            way_out=f"fetch it again from {_ANNOTATIONS.page}, and give it with an empty --raw",
        )
    images = _grouped(listed, "phase")
    pictures = {
        split: [(bare(Path(image["file_name"]).name), image) for image in images[split]] for split in splits
    }
    table, source = category_table(content, annotations)
    fields = {"image_id": int, "category_id": int, "segmentation": dict}
    shapes = _grouped(_items(content, "annos_segmentation", annotations, fields), "image_id")
    return Plan(
        counts={split: len(named) for split, named in pictures.items()},
        image_sets=image_sets,
        lists={
            f"{ROOT}/{LISTS}/{split}.txt": sorted(name for name, _ in named)
            for split, named in pictures.items()
        },
        jobs=[
            Job(
                raw / ROOT / MAPS / f"{name}.png",
                partial(draw, image, shapes[image["image_id"]], table, annotations),
            )
            for named in pictures.values()
            for name, image in named
        ],
        notes={"category_ids": source},
    )


def category_table(content: Mapping[str, Any], path: Path) -> tuple[dict[int, int], str]:
    """Return the id in label maps (1..59, background 0) of each category id, and the source of this table.

    Raises:
        UserError: the file names only some of the classes, and with other ids than mmsegmentation's.
    """
    ids = dict(zip(CLASSES, RAW_IDS, strict=True))
    source = "mmsegmentation's converter"
    if "categories" in content:
        items = list(_items(content, "categories", path, {"name": str, "category_id": int}))
        for key, other in (("name", "category_id"), ("category_id", "name")):
            named = ((item[key], str(item[other])) for item in items)
            check_unique(
                named, what=f"{path}: category", way_out="give the published annotations or ready PNGs"
            )
        stated = {item["name"]: item["category_id"] for item in items if item["name"] in ids}
        differing = {name: ids[name] for name in CLASSES if stated.get(name, ids[name]) != ids[name]}
        if len(stated) == len(CLASSES):
            ids, source = stated, f"categories of {path.name}"
        elif differing:
            raise UserError(
                f"{path}: categories give { ({name: stated[name] for name in differing}) }, expected {differing}; these "
                "are annotations of another kind, give the published ones or ready PNGs"
            )
    return {0: 0} | {ids[name]: i for i, name in enumerate(CLASSES, 1)}, source


def verify(raw: Path) -> dict[str, Any]:
    """Verify the class order of the label maps against VOC's own label maps of the same pictures, if there are any.

    Neither number nor range of the ids distinguishes the alphabetical order from the literature's, which has the same
    59 classes; VOC's label maps do.

    Raises:
        UserError: the label maps agree better with the literature's order than with the alphabetical one.
    """
    from cascade_core.datasets.context_maps import agreement  # slow to import

    voc_maps = sorted((raw / ROOT / "SegmentationClass").glob("*.png"))
    pairs = [(voc, own) for voc in voc_maps if (own := raw / ROOT / MAPS / voc.name).is_file()][:COMPARED]
    names = ["table" if name == "diningtable" else name for name in voc12.CLASSES]
    shares = agreement(pairs, names, {"alphabetical": CLASSES, "literature": LITERATURE_CLASSES})
    if not shares:
        return {"class_order": "unverified: no label map of VOC at hand to compare with"}
    if shares["alphabetical"] <= shares["literature"]:
        raise UserError(
            f"{raw / ROOT / MAPS}: {shares['literature']:.0%} of VOC's pixels agree if the maps are "
            f"numbered with VOC's classes first, {shares['alphabetical']:.0%} if alphabetically; they must be "
            "numbered alphabetically, 1 (aeroplane) to 59 (wood): convert them again from trainval_merged.json"
        )
    return {"class_order": f"{shares['alphabetical']:.0%} of VOC's pixels agree in {len(pairs)} pictures"}


def _grouped(items: Iterable[Mapping[str, Any]], field: str) -> Mapping[Any, list[Mapping[str, Any]]]:
    """Group mappings by the value of a field; a value that no mapping has gives an empty list."""
    groups: defaultdict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for item in items:
        groups[item[field]].append(item)
    return groups


def _items(content: Any, name: str, path: Path, fields: Mapping[str, type]) -> Iterator[Mapping[str, Any]]:
    """Yield the mappings in a list of the annotations; each must have `fields` of these types."""
    expected = f"expected the annotations of the Detail API, {_ANNOTATIONS.name}"
    items = content.get(name) if isinstance(content, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UserError(f"{path} has no list of mappings {name!r}; {expected}")
    for number, item in enumerate(items):
        if missing := fields.keys() - item.keys():
            raise UserError(f"{path}: {name}[{number}] lacks {', '.join(sorted(missing))}; {expected}")
        for field, kind in fields.items():
            if not isinstance(item[field], kind) or isinstance(item[field], bool):
                raise UserError(
                    f"{path}: {name}[{number}].{field} is {brief(item[field])}, no {kind.__name__}; {expected}"
                )
        yield item


CONTEXT = DataSet(
    name="context",
    title="Pascal Context",
    layout=VocLayout(label_dirs=(MAPS,), lists_dir=LISTS),
    protocols=(
        ClassSplit("context59-released", _LABELS, UNSEEN),
        ClassSplit("context59-literature", _LITERATURE_LABELS, LITERATURE_UNSEEN),
        ClassSplit("context59", _LABELS),
        ClassSplit("context60", _LABELS.with_background("context60")),
    ),
    release=Release(
        help="""Pascal Context, 59 classes.

        Needs VOCtrainval_03-May-2010.tar, and trainval_merged.json or a folder SegmentationClassContext with lists.
        """,
        example="--from VOCtrainval_03-May-2010.tar --from trainval_merged.json",
        counts={"train": 4_996, "val": 5_104},
        root=ROOT,
        requirements=requirements,
        plan=plan,
        verify=verify,
    ),
)
