"""Training samples against a plain version of the published pipeline, for the same random numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks import plain_input
from cascade_core.batches.samples import Sample, pack
from cascade_core.batches.transforms import TrainTransform, random_crop, random_size
from cascade_core.configs.config import DataConfig
from cascade_core.data.pictures import read_image, read_label_map

PUBLISHED = DataConfig(protocol="voc12-15-5", crop_size=48)
HUES = 255 / 6
"""Number of Pillow's hue levels in a sixth of the circle, in which a channel crosses the whole chroma."""


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def picture(size: tuple[int, int], seed: int, *, labels: str = "regions") -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth colour picture, and labels in regions of different sizes."""
    height, width = size
    coarse = Image.fromarray(rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8))
    image = np.array(coarse.resize((width, height), Image.Resampling.BILINEAR))
    regions = rng(seed).choice([0, 0, 0, 0, 1, 2, 255], (3, 4)).astype(np.uint8)
    label = np.array(Image.fromarray(regions).resize((width, height), Image.Resampling.NEAREST))
    if labels == "grey":
        image = np.repeat(image[..., :1], 3, axis=-1)
    return image, np.full_like(label, 255) if labels == "ignored" else label


SIZES = st.tuples(st.integers(8, 120), st.integers(8, 120))
LONG = st.tuples(st.integers(5, 12), st.integers(60, 160))
KINDS = st.sampled_from(["regions", "ignored", "grey"])


@settings(max_examples=120)
@given(
    size=st.one_of(SIZES, LONG, LONG.map(lambda size: size[::-1])),
    kind=KINDS,
    resize_range=st.sampled_from([(0.5, 2.0), None]),
    max_class_share=st.sampled_from([0.75, None]),
    flip=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_sample_without_colour_changes_is_the_published_one(
    size: tuple[int, int],
    kind: str,
    resize_range: tuple[float, float] | None,
    max_class_share: float | None,
    flip: bool,
    seed: int,
) -> None:
    data = PUBLISHED.model_copy(
        update={
            "resize_range": resize_range,
            "max_class_share": max_class_share,
            "flip": flip,
            "photometric": False,
        }
    )
    image, label = picture(size, seed, labels=kind)
    planes, labels, padding = TrainTransform(data)(image, label, rng(seed))
    sample = Sample(name="a", image=planes, label=labels, padding=padding)
    batch = pack([sample], mean=data.mean, std=data.std).to(torch.device("cpu"))
    expected = plain_input.sample(image, label, data, rng(seed))
    assert torch.equal(batch.images[0], expected[0])
    assert torch.equal(batch.labels[0], expected[1]) and torch.equal(batch.padding[0], expected[2])


@settings(max_examples=120)
@given(size=SIZES, kind=KINDS, seed=st.integers(0, 2**32 - 1))
def test_samples_differ_by_the_rounding_of_8_bit_hues(size: tuple[int, int], kind: str, seed: int) -> None:
    image, label = picture(size, seed, labels=kind)
    generators = rng(seed), rng(seed)
    levels, labels, _ = TrainTransform(PUBLISHED)(image, label, generators[0])
    published, ids = plain_input.augmented(image, label, PUBLISHED, generators[1])
    assert generators[0].random() == generators[1].random()  # both have drawn equally many numbers
    height, width = ids.shape
    assert np.array_equal(labels[:height, :width], ids)
    ours = levels[:, :height, :width].permute(1, 2, 0).int()
    differences = (ours - torch.from_numpy(published.copy()).int()).abs()
    # Each of two conversions loses up to one hue level, a contrast of 1.5 may follow, and levels are truncated four times.
    assert differences.max() <= 1.5 * 2 * 255 / HUES + 4
    assert differences.float().mean() <= 2


def test_colours_differ_little_on_average() -> None:
    image, _ = picture((64, 64), 3)
    biases = []
    for seed in range(60):
        published = plain_input.distorted(image, rng(seed)).astype(int)
        _, label = picture((64, 64), 3)
        data = PUBLISHED.model_copy(update={"crop_size": 64, "resize_range": None, "flip": False})
        ours = TrainTransform(data)(image, label, rng(seed))[0].permute(1, 2, 0).numpy()
        biases.append(np.abs(ours - published).mean())
    assert np.mean(biases) < 0.6


@settings(max_examples=150)
@given(
    shares=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    max_class_share=st.sampled_from([0.3, 0.5, 0.75, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_windows_are_redrawn_as_often_as_published(
    shares: list[int], max_class_share: float, seed: int
) -> None:
    ids = np.repeat([*range(len(shares)), 255], [*shares, 10]).astype(np.uint8)
    label = rng(seed).permuted(ids)[rng(seed + 1).integers(0, len(ids), (9, 11))].repeat(7, 0).repeat(7, 1)
    size = random_size(label.shape, 32, (0.5, 2.0), rng=rng(seed))
    resized = plain_input.resized(
        np.zeros((*label.shape, 3), np.uint8), label, 32, rng(seed).uniform(0.5, 2.0)
    )[1]
    assert resized.shape == size
    generators = rng(seed), rng(seed)
    window, cut = random_crop(label, size, 32, max_class_share=max_class_share, rng=generators[0])
    assert window == plain_input.window(resized, 32, max_class_share, generators[1])
    assert generators[0].random() == generators[1].random()
    assert np.array_equal(cut, resized[window])


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_files_are_read_alike(mode: str, tmp_path: Path) -> None:
    data = PUBLISHED
    image, label = picture((40, 50), 0)
    Image.fromarray(image).convert(mode).save(tmp_path / "a.jpg", quality=90)
    raw = np.where(label == 255, 255, label + 1).astype(np.uint8)
    Image.fromarray(raw).save(tmp_path / "a.png")
    label_set = data.split.label_set
    published = plain_input.read(tmp_path / "a.jpg", tmp_path / "a.png", label_set)
    assert np.array_equal(read_image(tmp_path / "a.jpg"), published[0])
    assert np.array_equal(read_label_map(tmp_path / "a.png", label_set), published[1])
    assert np.array_equal(published[1], label)
