"""COCO-Stuff 164K: photographs of COCO 2017, and label maps whose 182 raw ids become 171 train ids."""

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from cascade_core.data.pictures import read_label_map
from cascade_core.data.sources.convert import Job
from cascade_core.data.sources.official import COCO_STUFF_MAPS, COCO_TRAIN, COCO_VAL, OfficialFile
from cascade_core.data.sources.parts import Part
from cascade_core.data.sources.plan import DataSet, Plan, Splits
from cascade_core.labels.protocols import label_set

CONVERTED = "_labelTrainIds.png"
FOLDERS = {"train": "train2017", "val": "val2017"}
RAW_MAPS = "stuffthingmaps"
_READY = OfficialFile("stuffthingmaps_labelTrainIds.zip", "no official page: others' conversion")
_ARCHIVES = {"train": COCO_TRAIN, "val": COCO_VAL}


def requirements(splits: Splits) -> tuple[tuple[Part, ...], ...]:
    """Give the photographs of each split, and label maps: converted ones or the published ones."""
    folders = tuple(FOLDERS[split] for split in splits)
    photographs = tuple(
        (
            Part(
                what=f"photographs of {split}",
                file=_ARCHIVES[split],
                into="images",
                take=(FOLDERS[split],),
                suffix=".jpg",
            ),
        )
        for split in splits
    )
    ready = Part(what="converted label maps", file=_READY, into="annotations", take=folders, suffix=CONVERTED)
    raw = Part(
        what="label maps",
        file=COCO_STUFF_MAPS,
        into=RAW_MAPS,
        take=folders,
        suffix=".png",
        but_not="TrainIds.png",
    )
    return (*photographs, (ready, raw))


def plan(raw: Path, splits: Splits) -> Plan:
    """Say which label maps are to be renumbered; pictures are counted by their photographs."""
    jobs = [
        Job(raw / "annotations" / folder / f"{path.stem}{CONVERTED}", partial(read_raw, path))
        for folder in (FOLDERS[split] for split in splits)
        for path in sorted((raw / RAW_MAPS / folder).glob("*.png"))
    ]
    return Plan(
        jobs=jobs,
        counts={split: sum(1 for _ in (raw / "images" / FOLDERS[split]).glob("*.jpg")) for split in splits},
        image_sets={split: f"images/{FOLDERS[split]}:annotations/{FOLDERS[split]}" for split in splits},
    )


def read_raw(path: Path) -> UInt8[np.ndarray, "height width"]:
    """Read a published map (ids 0 to 181 with gaps, 255) as train ids.

    Raises:
        UserError: the file is broken, or holds an id that no class has.
    """
    return read_label_map(path, label_set("cocostuff171-raw"))


COCOSTUFF = DataSet(
    name="cocostuff",
    title="COCO-Stuff 164K",
    protocols=("cocostuff-156-15",),
    counts={"train": 118_287, "val": 5_000},
    root="",
    requirements=requirements,
    plan=plan,
)
