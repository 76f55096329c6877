"""Tiny files in the exact formats of the public data sets."""

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from cascade_core.data.sources.convert import voc_palette
from cascade_core.datasets.context import CLASSES as CONTEXT_59
from cascade_core.datasets.context import RAW_IDS

WIDTH, HEIGHT = 12, 8
VOC_2012, VOC_2010 = "VOCdevkit/VOC2012", "VOCdevkit/VOC2010"


def photograph(seed: int = 0) -> bytes:
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "JPEG")
    return content.getvalue()


def label_map(ids: np.ndarray, *, palette: bool = True) -> bytes:
    content = io.BytesIO()
    picture = Image.fromarray(ids.astype(np.uint8))
    if palette:
        picture.putpalette(voc_palette())
    picture.save(content, "PNG")
    return content.getvalue()


def halves(left: int, right: int) -> np.ndarray:
    """One id on the left, another on the right."""
    ids = np.full((HEIGHT, WIDTH), left, dtype=np.uint8)
    ids[:, WIDTH // 2 :] = right
    return ids


def lines(names: Sequence[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    mode = "w:gz" if path.suffix == ".tgz" else "w"
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return path


def voc_2012(folder: Path, *, train: Sequence[str], val: Sequence[str], others: Sequence[str] = ()) -> Path:
    """Write the tar of VOC 2012: maps (void between the classes) for its own lists, photographs for `others` too."""
    ids = halves(1, 20)
    ids[:, WIDTH // 2] = 255
    files = {f"{VOC_2012}/Annotations/{train[0]}.xml": b"<annotation/>"}
    for seed, name in enumerate([*train, *val, *others]):
        files[f"{VOC_2012}/JPEGImages/{name}.jpg"] = photograph(seed)
    for name in (*train, *val):
        files[f"{VOC_2012}/SegmentationClass/{name}.png"] = label_map(ids)
    for stem, names in {"train": train, "val": val, "trainval": [*train, *val]}.items():
        files[f"{VOC_2012}/ImageSets/Segmentation/{stem}.txt"] = lines(names)
    return write_tar(folder / "VOCtrainval_11-May-2012.tar", files)


def sbd_mat(ids: np.ndarray) -> bytes:
    """Give an annotation as SBD's: a structure GTcls with Boundaries, Segmentation and CategoriesPresent."""
    content = io.BytesIO()
    fields = {
        "Boundaries": np.zeros((20, 1)),
        "Segmentation": ids,
        "CategoriesPresent": np.unique(ids[ids > 0]),
    }
    savemat(content, {"GTcls": fields}, do_compression=True)
    return content.getvalue()


def sbd(folder: Path, maps: Mapping[str, np.ndarray]) -> Path:
    """Write SBD's tgz, whose own lists cover all of `maps`."""
    root = "benchmark_RELEASE/dataset"
    names = list(maps)
    files = {f"{root}/cls/{name}.mat": sbd_mat(ids) for name, ids in maps.items()}
    files |= {f"{root}/inst/{name}.mat": b"not wanted" for name in names}
    files |= {f"{root}/train.txt": lines(names[:-1]), f"{root}/val.txt": lines(names[-1:])}
    return write_tar(folder / "benchmark.tgz", files)


def packed_runs(mask: np.ndarray) -> str:
    """Pack a mask as COCO's run lengths; written from the format's description, number by number."""
    flat, runs, value = mask.T.ravel(), [], False
    while flat.size:
        length = int(np.argmax(flat != value)) if (flat != value).any() else flat.size
        runs.append(length)
        flat, value = flat[length:], not value
    text = ""
    for i, run in enumerate(runs):
        number = run - runs[i - 2] if i > 2 else run
        while True:
            bits, number = number & 31, number >> 5
            more = number != (-1 if bits & 16 else 0)
            text += chr(48 + bits + (32 if more else 0))
            if not more:
                break
    return text


def context_json(maps: Mapping[str, Mapping[str, np.ndarray]], *, categories: bool = True) -> dict[str, Any]:
    """Give annotations of the Detail API for maps of train ids + 1 by split and name; 0 is not annotated."""
    images, shapes = [], []
    for split, named in maps.items():
        for name, ids in named.items():
            image_id = 100 + len(images)
            images.append(
                {
                    "image_id": image_id,
                    "file_name": f"{name}.jpg",
                    "phase": split,
                    "height": ids.shape[0],
                    "width": ids.shape[1],
                }
            )
            for value in np.unique(ids[ids > 0]):
                mask = ids == value
                shapes.append(
                    {
                        "id": len(shapes),
                        "image_id": image_id,
                        "category_id": RAW_IDS[value - 1],
                        "segmentation": {"size": list(ids.shape), "counts": packed_runs(mask)},
                        "area": int(mask.sum()),
                        "iscrowd": 0,
                    }
                )
    content = {"info": {}, "images": images, "annos_segmentation": shapes, "parts": [], "annos_occlusion": []}
    if categories:
        pairs = zip(CONTEXT_59, RAW_IDS, strict=True)
        content["categories"] = [{"category_id": raw, "name": name, "onlysemantic": 0} for name, raw in pairs]
    return content


def context(
    folder: Path, maps: Mapping[str, Mapping[str, np.ndarray]], voc: Mapping[str, np.ndarray]
) -> None:
    """Write VOC 2010's tar, with VOC's own maps of some pictures, and the annotations."""
    names = [name for named in maps.values() for name in named]
    files = {f"{VOC_2010}/JPEGImages/{name}.jpg": photograph(seed) for seed, name in enumerate(names)}
    files |= {f"{VOC_2010}/SegmentationClass/{name}.png": label_map(ids) for name, ids in voc.items()}
    write_tar(folder / "VOCtrainval_03-May-2010.tar", files)
    (folder / "trainval_merged.json").write_text(json.dumps(context_json(maps)))


def cocostuff(folder: Path, maps: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write COCO's two zips of photographs, and the zip of raw maps (grey, 0..181 and 255)."""
    for split, named in maps.items():
        pictures = {f"{split}2017/{name}.jpg": photograph(seed) for seed, name in enumerate(named)}
        write_zip(folder / f"{split}2017.zip", pictures)
    write_zip(
        folder / "stuffthingmaps_trainval2017.zip",
        {
            f"{split}2017/{name}.png": label_map(ids, palette=False)
            for split, named in maps.items()
            for name, ids in named.items()
        },
    )


def ade20k(folder: Path, maps: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write ADE20K's zip: maps are grey, 0 for "other", 1..150."""
    root = "ADEChallengeData2016"
    files = {f"{root}/objectInfo150.txt": b"Idx Ratio Train Val Stuff Name\n"}
    for split, named in maps.items():
        for seed, (name, ids) in enumerate(named.items()):
            files[f"{root}/images/{split}/{name}.jpg"] = photograph(seed)
            files[f"{root}/annotations/{split}/{name}.png"] = label_map(ids, palette=False)
    write_zip(folder / "ADEChallengeData2016.zip", files)
