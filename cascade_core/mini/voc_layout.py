"""Writes the mini benchmark in Pascal VOC's layout, so that the code for real data can read it.

`VOCdevkit/VOC2012/` holds JPEGImages, SegmentationClass (palette PNGs of label id + 1; no pixel has 0, VOC's
background) and ImageSets/Segmentation with a list of names per split.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cascade_core.data.sources.convert import write_label_map
from cascade_core.errors import UserError
from cascade_core.mini.world import SCENE_SIZE, plan_scenes, render
from cascade_core.runtime.files import new_folder
from cascade_core.runtime.listing import by_name

SPLIT_SIZES: dict[str, int] = {"train": 800, "val": 200, "test": 400, "test2": 400}
"""Pictures of each split.

Nothing is chosen on `test2`, which the tables show. `test` is the test set of older results, and took part in choosing the
tiny CLIP (docs/results/choices.md).
"""
SPLIT_STREAMS: dict[str, int] = {"train": 2, "val": 3, "test": 4, "test2": 5}
"""First number of each split's seeds; `pretrain` uses 0 and 1."""

VOC_DIR = Path("VOCdevkit") / "VOC2012"
FIRST_RAW_ID = 1
JPEG_QUALITY = 95


def scene(
    split: str, index: int, *, seed: int
) -> tuple[UInt8[np.ndarray, "64 64 3"], UInt8[np.ndarray, "64 64"]]:
    """Return picture `index` of a split and its label ids; the arguments alone decide every pixel."""
    rng = np.random.default_rng([by_name(split, SPLIT_STREAMS, kind="split"), seed, index])
    pictures = render(rng, plan_scenes(rng, 1), size=SCENE_SIZE)
    return pictures.images[0], pictures.labels[0]


def write_benchmark(
    root: Path,
    *,
    seed: int = 0,
    sizes: dict[str, int] | None = None,
    on_picture: Callable[[str, int], None] | None = None,
) -> Path:
    """Write all splits under `root`, whole or not at all, and return the folder `root/VOCdevkit/VOC2012`.

    `on_picture(split, index)` is called after each picture, for a progress bar.

    Raises:
        UserError: `root` exists and is not empty; nothing is overwritten.
    """
    if root.exists() and any(root.iterdir()):
        raise UserError(f"{root} is not empty; remove it or name another folder for the mini benchmark")
    with new_folder(root) as unfinished:
        for split, size in (SPLIT_SIZES if sizes is None else sizes).items():
            _write_split(unfinished / VOC_DIR, split, size, seed=seed, on_picture=on_picture)
    return root / VOC_DIR


def _write_split(
    folder: Path, split: str, size: int, *, seed: int, on_picture: Callable[[str, int], None] | None
) -> None:
    subfolders = ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")
    images, labels, lists = (folder / name for name in subfolders)
    for subfolder in (images, labels, lists):
        subfolder.mkdir(parents=True, exist_ok=True)
    names = [f"{split}_{index:04d}" for index in range(size)]
    for index, name in enumerate(names):
        image, label = scene(split, index, seed=seed)
        Image.fromarray(image).save(images / f"{name}.jpg", quality=JPEG_QUALITY, subsampling=0)
        write_label_map(labels / f"{name}.png", label + np.uint8(FIRST_RAW_ID))
        if on_picture is not None:
            on_picture(split, index)
    (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
