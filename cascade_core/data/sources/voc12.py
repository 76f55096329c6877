"""Pascal VOC 2012 with the annotations of SBD: the 10,582 training and 1,449 validation pictures of the papers.

Training is VOC's own list plus every picture of SBD (Hariharan et al., ICCV 2011) that is in neither of VOC's
lists. VOC's map is used where VOC has one, SBD's elsewhere.
"""

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from cascade_core.data.sources.convert import Job
from cascade_core.data.sources.official import SBD, VOC_2012, VOC_AUG_MAPS
from cascade_core.data.sources.parts import Part
from cascade_core.data.sources.plan import DataSet, Plan, Splits, read_names
from cascade_core.errors import UserError

ROOT = "VOCdevkit/VOC2012"
LISTS = "ImageSets/Segmentation"
NUM_CLASSES, VOID = 20, 255

_VOC = Part(
    what="photographs, label maps and image lists of VOC 2012",
    file=VOC_2012,
    into=ROOT,
    root=ROOT,
    take=("JPEGImages", "SegmentationClass", f"{LISTS}/train.txt", f"{LISTS}/val.txt"),
)
_SBD = Part(
    what="SBD's annotations (.mat)",
    file=SBD,
    into="SBD",
    root="benchmark_RELEASE/dataset",
    take=("cls", "train.txt", "val.txt"),
)
_READY = Part(
    what="SBD's annotations as PNG",
    file=VOC_AUG_MAPS,
    into=ROOT,
    take=("SegmentationClassAug",),
    suffix=".png",
)


def requirements(splits: Splits) -> tuple[tuple[Part, ...], ...]:
    """Give what is needed for the splits: of each row of alternatives one. Validation needs VOC alone."""
    return ((_VOC,), (_READY, _SBD)) if "train" in splits else ((_VOC,),)


def plan(raw: Path, splits: Splits) -> Plan:
    """Say which maps of SBD are to be converted, and which lists come out of it.

    Raises:
        UserError: a list is missing or names no picture.
    """
    root = raw / ROOT
    train, val = (read_names(root / LISTS / f"{name}.txt") for name in ("train", "val"))
    if "train" not in splits:
        return Plan(counts={"val": len(val)}, image_sets={"val": "val"})
    own, sbd = {*train, *val}, _annotated(raw)
    aug = sorted(name for name in sbd if name not in own)
    jobs = [Job(root / "SegmentationClassAug" / f"{name}.png", partial(read_mat, sbd[name])) for name in aug]
    counts = {"train": len(train) + len(aug), "val": len(val)}
    return Plan(
        jobs=jobs,
        lists={f"{ROOT}/{LISTS}/aug.txt": aug},
        counts={split: counts[split] for split in splits},
        image_sets={split: {"train": "train+aug", "val": "val"}[split] for split in splits},
    )


def read_mat(path: Path) -> UInt8[np.ndarray, "height width"]:
    """Read the class map of an SBD annotation: the field Segmentation of the structure GTcls.

    Raises:
        UserError: the file is no such MATLAB file, or holds anything but ids 0 to 20 and 255.
    """
    from scipy.io import loadmat  # slow to import, and only this reads .mat

    try:
        ids = np.asarray(loadmat(path, squeeze_me=True)["GTcls"]["Segmentation"].item())
    except Exception as error:  # loadmat raises whatever its parser trips over
        raise UserError(
            f"{path}: no annotation of SBD ({type(error).__name__}: {error}), expected a MATLAB file with "
            "GTcls.Segmentation; fetch SBD again, and give it with an empty --raw"
        ) from error
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise UserError(
            f"{path}: GTcls.Segmentation is {ids.dtype} of shape {ids.shape}, expected a map of ids"
        )
    stray = np.setdiff1d(np.unique(ids), [*range(NUM_CLASSES + 1), VOID])
    if stray.size:
        raise UserError(f"{path}: ids {stray.tolist()[:10]} are none of 0..{NUM_CLASSES} and {VOID}")
    return ids.astype(np.uint8)


def _annotated(raw: Path) -> dict[str, Path]:
    """Give the file of every picture that SBD's annotations cover, ready PNGs or .mat."""
    ready = raw / ROOT / "SegmentationClassAug"
    sbd = raw / "SBD"
    if not (sbd / "train.txt").is_file():
        return {path.stem: path for path in ready.glob("*.png")}
    names = [*read_names(sbd / "train.txt"), *read_names(sbd / "val.txt")]
    return {name: sbd / "cls" / f"{name}.mat" for name in names}


VOC12 = DataSet(
    name="voc12",
    title="Pascal VOC 2012 with SBD",
    protocols=("voc12-15-5", "voc12-20"),
    counts={"train": 10_582, "val": 1_449},
    root=ROOT,
    requirements=requirements,
    plan=plan,
)
