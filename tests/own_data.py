"""A data set of one's own in a folder: pictures drawn from rectangles in the mini benchmark's words, and a label file."""

from pathlib import Path

import numpy as np
from PIL import Image

from cascade_core.configs.backbones import MINI_CLIP

LABELS = """\
name: garden
classes: [grass, sand, water, lava]
unseen: [{unseen}]
background: {{id: 0}}
"""
COLOURS = ((0, 0, 0), (40, 160, 60), (220, 200, 120), (40, 90, 200), (230, 80, 20))


def draw_own_data(folder: Path, *, pictures: int = 24, size: int = 64, seed: int = 0) -> Path:
    """Draw `images/*.png`, `maps/*.png` and `garden.yaml`, whose unseen class is lava."""
    random = np.random.default_rng(seed)
    for sub in ("images", "maps"):
        (folder / sub).mkdir(parents=True)
    for number in range(pictures):
        ids = np.full((size, size), random.integers(1, 5), np.uint8)
        for label in random.permutation(5):
            top, left = random.integers(0, size // 2, 2)
            ids[top : top + size // 2, left : left + size // 2] = label
        picture = np.array(COLOURS, np.int16)[ids] + random.integers(-20, 20, (size, size, 3), np.int16)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{number:03}.png")
        Image.fromarray(ids).save(folder / "maps" / f"{number:03}.png")
    write_labels(folder)
    return folder


def write_labels(folder: Path, *, unseen: str = "lava") -> None:
    """Write the label file with these unseen classes."""
    (folder / "garden.yaml").write_text(LABELS.format(unseen=unseen))


def write_own_data_and_clip(folder: Path) -> None:
    """Write what a project of one's own starts from: a small data set `garden`, and the folder of a CLIP without weights."""
    draw_own_data(folder / "garden", pictures=4, size=8)
    (folder / "clip").mkdir()
    (folder / "clip/config.json").write_text(MINI_CLIP.model_dump_json())
    (folder / "clip/model.safetensors").touch()
