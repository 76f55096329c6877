"""COCO-Stuff 164K: photographs of COCO 2017, and label maps of 182 raw ids, converted to 171 train ids."""

from functools import partial
from pathlib import Path

from cascade_core.data.layouts import FolderLayout
from cascade_core.data.sources.official import OfficialFile
from cascade_core.data.sources.part_search import Part
from cascade_core.data.sources.plan import Job, Plan, Splits
from cascade_core.datasets.data_set import DataSet, Release, class_names, folder_plan
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_set import LabelSet, ranked_table, train_id_table

CLASSES = class_names(
    """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop
    sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack,
    umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball
    glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana,
    apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed,
    dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink,
    refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush, banner, blanket, branch,
    bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, ceiling-tile, cloth,
    clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, floor-marble,
    floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other,
    grass, gravel, ground-other, hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud,
    napkin, net, paper, pavement, pillow, plant-other, plastic, platform, playingfield, railing, railroad,
    river, road, rock, roof, rug, salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-other, stairs,
    stone, straw, structural-other, table, tent, textile-other, towel, tree, vegetable, wall-brick,
    wall-concrete, wall-other, wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops,
    window-blind, window-other, wood
    """
)
"""The classes: 80 things, then 91 kinds of stuff."""
UNSEEN = class_names(
    """
    cow, giraffe, suitcase, frisbee, skateboard, carrot, scissors, cardboard, clouds, grass, playingfield,
    river, road, tree, wall-concrete
    """
)
RAW_GAPS = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
"""The ids in 0..181 without a class in the published label maps; a train id is the rank among the other ids."""
PUBLISHED_MAPS = LabelSet(
    "cocostuff171-raw", CLASSES, ranked_table([raw for raw in range(182) if raw not in RAW_GAPS])
)

_LABELS = LabelSet("cocostuff171", CLASSES, train_id_table(len(CLASSES)))

CONVERTED = "_labelTrainIds.png"
FOLDERS = {"train": "train2017", "val": "val2017"}
RAW_MAPS = "stuffthingmaps"
_STATED = "PaddleDetection's and others' download scripts"
_PHOTOGRAPHS = {
    "train": OfficialFile(
        "train2017.zip",
        "'COCO - Common Objects in Context' (2017 Train images)",
        size=19_336_861_798,
        digest="md5:cced6f7f71b7629ddf16f17bbcfab6b2",
        stated=_STATED,
    ),
    "val": OfficialFile(
        "val2017.zip",
        "'COCO - Common Objects in Context' (2017 Val images)",
        size=815_585_330,
        digest="md5:442b8da7639aecaf257c1dceb8ba8c80",
        stated=_STATED,
    ),
}
_MAPS = OfficialFile(
    "stuffthingmaps_trainval2017.zip", "nightrome/cocostuff on GitHub (COCO-Stuff 164K, stuff+thing maps)"
)
_READY = OfficialFile("stuffthingmaps_labelTrainIds.zip", "no official page: others' conversion")


def requirements(splits: Splits) -> tuple[tuple[Part, ...], ...]:
    """Return the photographs of each split, and as alternatives the converted and the published label maps."""
    folders = tuple(FOLDERS[split] for split in splits)
    photographs = [
        (Part(f"photographs of {split}", _PHOTOGRAPHS[split], "images", (FOLDERS[split],), suffix=".jpg"),)
        for split in splits
    ]
    ready = Part("converted label maps", _READY, "annotations", folders, suffix=CONVERTED)
    published = Part("label maps", _MAPS, RAW_MAPS, folders, suffix=".png", but_not="TrainIds.png")
    return (*photographs, (ready, published))


def plan(raw: Path, splits: Splits) -> Plan:
    """Plan the conversion of the published label maps, and count the pictures."""
    from cascade_core.data.pictures import read_label_map  # slow to import

    jobs = [
        Job(
            raw / "annotations" / folder / f"{path.stem}{CONVERTED}",
            partial(read_label_map, path, PUBLISHED_MAPS),
        )
        for folder in (FOLDERS[split] for split in splits)
        for path in sorted((raw / RAW_MAPS / folder).glob("*.[pP][nN][gG]"))
    ]
    return folder_plan(raw / "images", FOLDERS, splits, jobs)


COCOSTUFF = DataSet(
    name="cocostuff",
    title="COCO-Stuff 164K",
    layout=FolderLayout(label_suffix=CONVERTED),
    protocols=(ClassSplit("cocostuff-156-15", _LABELS, UNSEEN), ClassSplit("cocostuff-171", _LABELS)),
    other_label_sets=(PUBLISHED_MAPS,),
    release=Release(
        help="""COCO-Stuff 164K, 171 classes.

        Needs train2017.zip, val2017.zip and stuffthingmaps_trainval2017.zip.
        """,
        example="--from DOWNLOADS",
        counts={"train": 118_287, "val": 5_000},
        root="",
        requirements=requirements,
        plan=plan,
    ),
)
