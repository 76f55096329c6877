"""A small valid data set in Pascal VOC's layout; tests break single files of it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_core.labels.label_set import LabelSet, reduce_zero_table

WIDTH, HEIGHT = 40, 30
NAMES = {
    "train": ["2007_000001", "2007_000002", "2007_000003"],
    "aug": ["2008_000001"],
    "val": ["2009_000001"],
}


@pytest.fixture
def animals() -> LabelSet:
    """Return three classes with raw ids 1 to 3."""
    return LabelSet("animals", ("cat", "dog", "cow"), reduce_zero_table(3))


def write_picture(path: Path, *, seed: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """Write a JPEG so smooth that compression preserves its pixels."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR).save(path, quality=95)


def write_labels(path: Path, raw_ids: np.ndarray) -> None:
    """Write a palette PNG like those of VOC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(raw_ids.astype(np.uint8))
    picture.putpalette([channel for i in range(256) for channel in (i, 255 - i, i)])
    picture.save(path)


def raw_labels() -> np.ndarray:
    """Return background above, cat and dog below, and a void line between these."""
    raw = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    raw[15:, :20], raw[15:, 20:], raw[15:, 20] = 1, 2, 255
    return raw


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Write three training pictures, one with its label map in SegmentationClassAug, and one for validation."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for number, (stem, names) in enumerate(NAMES.items()):
        (lists / f"{stem}.txt").write_text("".join(f"{name}\n" for name in names))
        folder = "SegmentationClassAug" if stem == "aug" else "SegmentationClass"
        for i, name in enumerate(names):
            write_picture(root / "JPEGImages" / f"{name}.jpg", seed=10 * number + i)
            write_labels(root / folder / f"{name}.png", raw_labels())
    return root
