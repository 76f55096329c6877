"""ADE20K of the 2016 scene parsing benchmark: 150 classes; its label maps need no conversion."""

from pathlib import Path

from cascade_core.data.layouts import FolderLayout
from cascade_core.data.sources.official import OfficialFile
from cascade_core.data.sources.part_search import Part
from cascade_core.data.sources.plan import Plan, Splits
from cascade_core.datasets.data_set import DataSet, Release, class_names, folder_plan
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_set import LabelSet, reduce_zero_table

CLASSES = class_names(
    """
    wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person,
    earth, door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea,
    mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base,
    box, column, signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator,
    grandstand, path, stairs, runway, case, pool table, pillow, screen door, stairway, river, bridge,
    bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop, stove, palm, kitchen
    island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light, truck, tower,
    chandelier, awning, streetlight, booth, television receiver, airplane, dirt track, apparel, pole, land,
    bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt,
    canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike, cradle,
    oven, ball, food, step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen,
    blanket, sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate,
    monitor, bulletin board, shower, radiator, glass, clock, flag
    """
)

ROOT = "ADEChallengeData2016"
FOLDERS = {"train": "training", "val": "validation"}

_FILE = OfficialFile(
    "ADEChallengeData2016.zip",
    "'MIT Scene Parsing Benchmark' (ADE20K, train and validation)",
    digest="sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7",
    stated="gluoncv's ade20k script",
)


def requirements(splits: Splits) -> tuple[tuple[Part, ...], ...]:
    """Return the only part: the pictures and label maps of the splits."""
    take = tuple(f"{kind}/{FOLDERS[split]}" for kind in ("images", "annotations") for split in splits)
    return ((Part("photographs and label maps", _FILE, into=ROOT, root=ROOT, take=take),),)


def plan(raw: Path, splits: Splits) -> Plan:
    """Count the pictures; there is nothing to convert."""
    return folder_plan(raw / ROOT / "images", FOLDERS, splits)


ADE20K = DataSet(
    name="ade20k",
    title="ADE20K",
    layout=FolderLayout(),
    protocols=(ClassSplit("ade20k-150", LabelSet("ade20k150", CLASSES, reduce_zero_table(len(CLASSES)))),),
    release=Release(
        help="""ADE20K, 150 classes, a target of evaluation.

        Needs ADEChallengeData2016.zip.
        """,
        example="--from ADEChallengeData2016.zip --split val",
        counts={"train": 20_210, "val": 2_000},
        root=ROOT,
        requirements=requirements,
        plan=plan,
    ),
)
