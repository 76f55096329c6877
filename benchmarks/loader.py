"""Training input, compared with the published pipeline written plainly: `python -m benchmarks.loader`.

It measures images per second of CPU time on one core, from JPEG and PNG files of 640 x 480 to batches of 512 x 512
pixels, with the published augmentation and the same random numbers for both. The pictures are shaded and textured
regions instead of noise, so that a JPEG has about 130 kB, as photographs of this size have.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from benchmarks import plain_input
from benchmarks.compare import ROUNDS
from benchmarks.machine import surroundings
from cascade_core.batches.samples import pack, train_dataset
from cascade_core.configs.config import DataConfig
from cascade_core.configs.recipes import recipe

PICTURES, BATCH, WIDTH, HEIGHT = 16, 4, 640, 480
REGIONS = 9


def draw(root: Path, *, num_classes: int) -> pd.DataFrame:
    """Write `PICTURES` photographs with their label maps below `root`; return their index."""
    rows = []
    for number in range(PICTURES):
        rng = np.random.default_rng(number)
        regions = np.argmax([_clouds(rng, 5) for _ in range(REGIONS)], axis=0)
        classes = rng.permutation(num_classes)[:REGIONS]
        labels = np.where(regions == 0, 255, classes[regions]).astype(np.uint8)
        name = f"{number:012d}"
        _photograph(regions, rng).save(root / f"{name}.jpg", quality=90)
        Image.fromarray(labels).save(root / f"{name}.png")
        rows.append({"name": name, "image": f"{name}.jpg", "label": f"{name}.png"})
    return pd.DataFrame(rows)


def make(root: Path) -> tuple[Callable[[int], object], Callable[[int], object], Callable[[int], object]]:
    """Return three functions that make the samples of a round: ours, ours with normalisation, and the plain one."""
    data: DataConfig = recipe("cascade_cocostuff", {}, seed=0).data
    index = draw(root, num_classes=data.split.num_classes)
    dataset = train_dataset(index, root, data=data, seed=0)
    batches = [range(first, first + BATCH) for first in range(0, PICTURES, BATCH)]

    def ours(round_: int) -> None:
        for batch in batches:
            pack([dataset[i, round_ * PICTURES + i] for i in batch], mean=data.mean, std=data.std)

    def normalised(round_: int) -> None:
        for batch in batches:
            samples = [dataset[i, round_ * PICTURES + i] for i in batch]
            pack(samples, mean=data.mean, std=data.std).to(torch.device("cpu"))

    def published(round_: int) -> None:
        for batch in batches:
            samples = []
            for i in batch:
                image, label = plain_input.read(dataset.images[i], dataset.labels[i], dataset.label_set)
                rng = np.random.default_rng((0, round_ * PICTURES + i))
                samples.append(plain_input.sample(image, label, data, rng))
            plain_input.batch(samples)

    return ours, normalised, published


def rates(ways: tuple[Callable[[int], object], ...]) -> list[float]:
    """Return each function's images per second: medians of `ROUNDS` interleaved runs after one warm-up of each."""
    times: list[list[float]] = [[] for _ in ways]
    for round_ in range(ROUNDS + 1):
        for way, taken in zip(ways, times, strict=True):
            began = time.process_time()
            way(round_)
            if round_:
                taken.append(time.process_time() - began)
    return [PICTURES / statistics.median(taken) for taken in times]


def _photograph(regions: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Paint each region in its own colour, with light and texture."""
    paint = rng.uniform(30, 220, (REGIONS, 3))[regions]
    light = 40 * _clouds(rng, 3) + 25 * _clouds(rng, 24)
    texture = rng.uniform(4, 30, REGIONS)[regions] * _clouds(rng, 160) + rng.normal(0, 9, regions.shape)
    levels = paint + (light + texture)[..., None]
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def _clouds(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Draw a smooth field of unit deviation with about `cells` hills across."""
    coarse = Image.fromarray(rng.normal(size=(cells * HEIGHT // WIDTH + 2, cells)).astype(np.float32))
    return np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(surroundings())
    with tempfile.TemporaryDirectory() as folder:
        ours, normalised, published = rates(make(Path(folder)))
    print(f"loader: {ours:.0f} / {published:.0f} images/s on one core = {ours / published:.2f}")
    print(f"normalised as well: {normalised:.0f} / {published:.0f} images/s = {normalised / published:.2f}")
