"""ADE20K as the scene parsing benchmark of 2016 publishes it: 150 classes, maps that need no conversion."""

from pathlib import Path

from cascade_core.data.sources import official
from cascade_core.data.sources.parts import Part
from cascade_core.data.sources.plan import DataSet, Plan, Splits

ROOT = "ADEChallengeData2016"
FOLDERS = {"train": "training", "val": "validation"}


def requirements(splits: Splits) -> tuple[tuple[Part, ...], ...]:
    """Give the one part there is."""
    pictures = tuple(f"images/{FOLDERS[split]}" for split in splits)
    maps = tuple(f"annotations/{FOLDERS[split]}" for split in splits)
    what = "photographs and label maps"
    return ((Part(what=what, file=official.ADE20K, into=ROOT, root=ROOT, take=(*pictures, *maps)),),)


def plan(raw: Path, splits: Splits) -> Plan:
    """Count the pictures by their photographs."""
    pictures = raw / ROOT / "images"
    return Plan(
        counts={split: sum(1 for _ in (pictures / FOLDERS[split]).glob("*.jpg")) for split in splits},
        image_sets={split: f"images/{FOLDERS[split]}:annotations/{FOLDERS[split]}" for split in splits},
    )


ADE20K = DataSet(
    name="ade20k",
    title="ADE20K",
    protocols=("ade20k-150",),
    counts={"train": 20_210, "val": 2_000},
    root=ROOT,
    requirements=requirements,
    plan=plan,
)
