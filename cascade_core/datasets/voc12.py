"""Pascal VOC 2012 with the annotations of SBD: the 10,582 training and 1,449 validation pictures of the papers.

The training set is VOC's own list plus the pictures of SBD (Hariharan et al., ICCV 2011) that are in neither of VOC's
lists. VOC's label map is preferred to SBD's.
"""

from functools import partial
from pathlib import Path

from cascade_core.data.layouts import VocLayout
from cascade_core.data.sources.official import OfficialFile
from cascade_core.data.sources.part_search import Part
from cascade_core.data.sources.plan import Job, Plan, Splits, read_names
from cascade_core.datasets.data_set import DataSet, Release, class_names
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_set import LabelSet, reduce_zero_table

CLASSES = class_names(
    """
    aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse, motorbike,
    person, pottedplant, sheep, sofa, train, tvmonitor
    """
)
"""The classes without background."""
UNSEEN = ("pottedplant", "sheep", "sofa", "train", "tvmonitor")
_LABELS = LabelSet("voc20", CLASSES, reduce_zero_table(len(CLASSES)), background_ids=(0,))

ROOT = "VOCdevkit/VOC2012"
LISTS = "ImageSets/Segmentation"

_VOC = Part(
    what="photographs, label maps and image lists of VOC 2012",
    file=OfficialFile(
        "VOCtrainval_11-May-2012.tar",
        "'The PASCAL Visual Object Classes Challenge 2012' (Development Kit: training/validation data)",
        size=1_999_639_040,
        digest="md5:6cd6e144f989b92b3379bac3b3de84fd",
        stated="torchvision.datasets.VOCSegmentation (md5) and download logs (size)",
    ),
    into=ROOT,
    root=ROOT,
    take=("JPEGImages", "SegmentationClass", f"{LISTS}/train.txt", f"{LISTS}/val.txt"),
)
_SBD = Part(
    what="SBD's annotations (.mat)",
    file=OfficialFile(
        "benchmark.tgz",
        "'Semantic Contours from Inverse Detectors', Berkeley (the SBD data set)",
        digest="md5:82b4d87ceb2ed10f6038a1cba92111cb",
        stated="torchvision.datasets.SBDataset",
    ),
    into="SBD",
    root="benchmark_RELEASE/dataset",
    take=("cls", "train.txt", "val.txt"),
)
_READY = Part(
    what="SBD's annotations as PNG",
    file=OfficialFile("SegmentationClassAug.zip", "no official page: others' conversion of SBD"),
    into=ROOT,
    take=("SegmentationClassAug",),
    suffix=".png",
)


def requirements(splits: Splits) -> tuple[tuple[Part, ...], ...]:
    """Return VOC and, for training, SBD's annotations in either form."""
    return ((_VOC,), (_READY, _SBD)) if "train" in splits else ((_VOC,),)


def plan(raw: Path, splits: Splits) -> Plan:
    """Plan the conversion of SBD's annotations and the list of their pictures, `aug.txt`.

    Raises:
        UserError: a list is missing or names no picture.
    """
    from cascade_core.datasets.sbd import read_mat  # slow to import

    root = raw / ROOT
    train, val = (read_names(root / LISTS / f"{name}.txt") for name in ("train", "val"))
    if "train" not in splits:
        return Plan(counts={"val": len(val)}, image_sets={"val": "val"})
    sbd = _sbd_files(raw)
    aug = sorted(sbd.keys() - {*train, *val})
    counts = {"train": len(train) + len(aug), "val": len(val)}
    return Plan(
        jobs=[
            Job(root / "SegmentationClassAug" / f"{name}.png", partial(read_mat, sbd[name], len(CLASSES)))
            for name in aug
        ],
        lists={f"{ROOT}/{LISTS}/aug.txt": aug},
        counts={split: counts[split] for split in splits},
        image_sets={split: {"train": "train+aug", "val": "val"}[split] for split in splits},
    )


def _sbd_files(raw: Path) -> dict[str, Path]:
    """Return the file of every picture that SBD annotates, a ready PNG or a .mat."""
    sbd = raw / "SBD"
    if not (sbd / "train.txt").is_file():
        return {path.stem: path for path in (raw / ROOT / "SegmentationClassAug").glob("*.[pP][nN][gG]")}
    names = [*read_names(sbd / "train.txt"), *read_names(sbd / "val.txt")]
    return {name: sbd / "cls" / f"{name}.mat" for name in names}


VOC12 = DataSet(
    name="voc12",
    title="Pascal VOC 2012 with SBD",
    layout=VocLayout(),
    protocols=(ClassSplit("voc12-15-5", _LABELS, UNSEEN), ClassSplit("voc12-20", _LABELS)),
    release=Release(
        help="""Pascal VOC 2012, with SBD's annotations for training.

        Needs VOCtrainval_11-May-2012.tar, and for training benchmark.tgz (SBD) or a folder SegmentationClassAug.
        """,
        example="--from VOCtrainval_11-May-2012.tar --from benchmark.tgz",
        counts={"train": 10_582, "val": 1_449},
        root=ROOT,
        requirements=requirements,
        plan=plan,
    ),
)
