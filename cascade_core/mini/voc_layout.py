"""Writes a benchmark of pictures of a world in Pascal VOC's layout, so that the code for real data can read it.

`VOCdevkit/VOC2012/` holds JPEGImages, SegmentationClass (palette PNGs of label id + 1, with 0 for background and 255 for
void, neither of which the mini benchmark has) and ImageSets/Segmentation with a list of names per split.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from cascade_core.data.sources.convert import write_label_map
from cascade_core.errors import UserError
from cascade_core.mini.mini_world import MINI_WORLD
from cascade_core.mini.paint import render
from cascade_core.mini.world import World
from cascade_core.runtime.files import new_folder, sha256
from cascade_core.runtime.listing import by_name

VOC_DIR = Path("VOCdevkit") / "VOC2012"
BACKGROUND_RAW_ID, FIRST_RAW_ID, VOID_RAW_ID = 0, 1, 255
JPEG_QUALITY = 95
LABELS_DIR = "SegmentationClass"


def scene(
    split: str, index: int, *, seed: int, world: World = MINI_WORLD
) -> tuple[UInt8[np.ndarray, "height width 3"], UInt8[np.ndarray, "height width"]]:
    """Return picture `index` of a split and the ids of its materials; the arguments alone decide every pixel."""
    image_set = by_name(split, world.image_sets, kind="split")
    rng = np.random.default_rng([image_set.stream, seed, index])
    pictures = render(rng, world.plan_scenes(rng, 1), size=world.scene_size)
    return pictures.images[0], pictures.labels[0]


def raw_ids(world: World, labels: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
    """Return a label map as VOC stores it: classes from 1, background 0, and 255 along the rims of things."""
    raw = np.where(labels < len(world.classes), labels + np.uint8(FIRST_RAW_ID), np.uint8(BACKGROUND_RAW_ID))
    if world.void_border:
        raw[_near_rims(labels, np.isin(labels, world.thing_ids), world.void_border)] = VOID_RAW_ID
    return raw


def _near_rims(labels: np.ndarray, is_thing: np.ndarray, width: int) -> Bool[np.ndarray, "height width"]:
    """Mark pixels at most `width` pixels from a pixel of another material, if one of the two is a thing."""
    height, breadth = labels.shape
    wide_labels, wide_things = (np.pad(array, width, mode="edge") for array in (labels, is_thing))
    near = np.zeros_like(is_thing)
    for down in range(2 * width + 1):
        for right in range(2 * width + 1):
            window = (slice(down, down + height), slice(right, right + breadth))
            near |= (wide_labels[window] != labels) & (wide_things[window] | is_thing)
    return near


def write_benchmark(
    root: Path,
    *,
    world: World = MINI_WORLD,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    on_picture: Callable[[str, int], None] | None = None,
) -> Path:
    """Write all splits under `root`, whole or not at all, and return the folder `root/VOCdevkit/VOC2012`.

    `on_picture(split, index)` is called after each picture, for a progress bar.

    Raises:
        UserError: `root` exists and is not empty, and nothing is overwritten; or the whole benchmark does not have the
            hash that the world states.
    """
    if root.exists() and any(root.iterdir()):
        raise UserError(f"{root} is not empty; remove it or name another folder for the benchmark's pictures")
    with new_folder(root) as unfinished:
        for split, size in (world.sizes if sizes is None else sizes).items():
            _write_split(unfinished / VOC_DIR, split, size, world=world, seed=seed, on_picture=on_picture)
        if sizes is None and seed in world.hashes:
            _check(sha256(unfinished / VOC_DIR), world.hashes[seed], world.name)
    return root / VOC_DIR


def _check(digest: str, stated: str, name: str) -> None:
    if digest != stated:
        raise UserError(
            f"the pictures of world {name!r} have SHA-256 {digest[:12]}..., not {stated[:12]}... as stated in "
            "cascade_core/mini/hard_world.py: numpy, Pillow or this processor round otherwise. Install the versions of "
            "requirements.lock; if that does not help, use another --seed, whose scores stand for themselves"
        )


def _write_split(
    folder: Path,
    split: str,
    size: int,
    *,
    world: World,
    seed: int,
    on_picture: Callable[[str, int], None] | None,
) -> None:
    subfolders = ("JPEGImages", LABELS_DIR, "ImageSets/Segmentation")
    images, labels, lists = (folder / name for name in subfolders)
    for subfolder in (images, labels, lists):
        subfolder.mkdir(parents=True, exist_ok=True)
    names = [f"{split}_{index:04d}" for index in range(size)]
    for index, name in enumerate(names):
        image, label = scene(split, index, seed=seed, world=world)
        Image.fromarray(image).save(images / f"{name}.jpg", quality=JPEG_QUALITY, subsampling=0)
        write_label_map(labels / f"{name}.png", raw_ids(world, label))
        if on_picture is not None:
            on_picture(split, index)
    (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
