"""Training and evaluation transforms: sizes, distributions, and labels that match their pictures."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_core.batches.transforms import (
    EvalTransform,
    TrainTransform,
    normalise,
    normalise_levels,
    random_crop,
    random_size,
    short_side_size,
)
from cascade_core.configs.config import DataConfig

PLAIN = DataConfig(
    protocol="voc12-15-5",
    crop_size=32,
    resize_range=None,
    max_class_share=None,
    photometric=False,
    flip=False,
)
PUBLISHED = DataConfig(protocol="voc12-15-5", crop_size=32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def picture(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its label map; the red level is 10 times the label."""
    label = rng(seed).integers(0, 20, (height, width), dtype=np.uint8)
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[..., 0] = 10 * label
    return image, label


@settings(deadline=None, max_examples=100)
@given(height=st.integers(20, 700), width=st.integers(20, 700), seed=st.integers(0, 1000))
def test_the_short_side_becomes_the_factor_times_the_crop(height: int, width: int, seed: int) -> None:
    new = random_size((height, width), 512, (0.5, 2.0), rng=rng(seed))
    ratio = rng(seed).uniform(0.5, 2.0)
    if max(height, width) <= 4 * min(height, width):
        assert min(new) in (int(512 * ratio), int(512 * ratio) + 1)
    else:
        assert max(new) <= int(2048 * ratio) + 1
    assert new[0] / new[1] == pytest.approx(height / width, rel=0.02)


def test_resize_factors_are_spread_evenly() -> None:
    generator = rng()
    short = [min(random_size((375, 500), 512, (0.5, 2.0), rng=generator)) for _ in range(4000)]
    assert np.mean(short) == pytest.approx(512 * 1.25, rel=0.02)
    assert min(short) < 270 and max(short) > 1000


@settings(deadline=None, max_examples=50)
@given(height=st.integers(20, 700), width=st.integers(20, 700))
def test_evaluation_resizes_the_short_side_exactly(height: int, width: int) -> None:
    new = short_side_size((height, width), 512)
    assert min(new) == 512
    assert max(new) == pytest.approx(512 * max(height, width) / min(height, width), abs=0.5)


def test_every_window_is_as_likely() -> None:
    label = np.zeros((6, 10), dtype=np.uint8)
    generator = rng()
    windows = [random_crop(label, (6, 10), 4, max_class_share=None, rng=generator)[0] for _ in range(4200)]
    tops, lefts = (np.array([window[axis].start for window in windows]) for axis in (0, 1))
    assert np.bincount(tops, minlength=3) == pytest.approx(1400, rel=0.12)
    assert np.bincount(lefts, minlength=7) == pytest.approx(600, rel=0.18)


def test_a_crop_avoids_windows_of_nearly_one_class() -> None:
    label = np.zeros((40, 400), dtype=np.uint8)
    label[:20, 150:] = 1
    generator = rng()
    shares = []
    for _ in range(200):
        window, crop = random_crop(label, (40, 400), 40, max_class_share=0.75, rng=generator)
        assert np.array_equal(crop, label[window])
        shares.append(np.bincount(crop.ravel()).max() / crop.size)
    assert max(shares) < 0.75


def test_ignored_pixels_do_not_count_for_a_crops_share() -> None:
    label = np.full((40, 80), 255, dtype=np.uint8)
    label[0, 0::2], label[0, 1::2] = 3, 4
    windows = {
        random_crop(label, (40, 80), 40, max_class_share=0.75, rng=rng(seed))[0][1].start
        for seed in range(60)
    }
    assert len(windows) > 20  # two classes of equal share: the first window is taken, whatever is ignored


def test_a_single_class_picture_is_cropped_after_ten_retries() -> None:
    class Counting(np.random.Generator):
        draws = 0

        def integers(self, *args: int) -> int:  # type: ignore[override]
            self.draws += 1
            return int(super().integers(*args))

    counting = Counting(np.random.PCG64(0))
    random_crop(np.zeros((20, 20), dtype=np.uint8), (20, 20), 8, max_class_share=0.75, rng=counting)
    assert counting.draws == 2 * (1 + 10)


def test_without_a_share_limit_only_one_window_is_drawn() -> None:
    label = np.zeros((20, 20), dtype=np.uint8)
    window, _ = random_crop(label, (20, 20), 8, max_class_share=None, rng=rng(5))
    generator = rng(5)
    assert [w.start for w in window] == [generator.integers(0, 13), generator.integers(0, 13)]


@settings(deadline=None, max_examples=40)
@given(height=st.integers(20, 90), width=st.integers(20, 90), seed=st.integers(0, 10_000))
def test_a_training_sample_is_square_with_padding_marked(height: int, width: int, seed: int) -> None:
    image, label = picture(height, width)
    planes, labels, padding = TrainTransform(PUBLISHED)(image, label, rng(seed))
    assert planes.shape == (3, 32, 32) and labels.shape == padding.shape == (32, 32)
    assert (planes[:, padding] == 0).all()
    assert (labels[padding] == 255).all()
    inside = (~padding).nonzero().max(dim=0).values + 1
    assert int((~padding).sum()) == int(inside.prod())  # the picture is one block at the top left


@settings(deadline=None, max_examples=40)
@given(height=st.integers(20, 60), width=st.integers(20, 60), seed=st.integers(0, 10_000))
def test_labels_follow_pictures_through_crop_flip_and_padding(height: int, width: int, seed: int) -> None:
    image, label = picture(height, width)
    data = PLAIN.model_copy(update={"flip": True})
    planes, labels, padding = TrainTransform(data)(image, label, rng(seed))
    assert torch.equal(planes[0][~padding], 10 * labels[~padding])


def test_half_of_the_samples_are_mirrored() -> None:
    image, label = picture(32, 32)
    transform = TrainTransform(PLAIN.model_copy(update={"flip": True}))
    mirrored = [
        torch.equal(transform(image, label, rng(seed))[1], torch.from_numpy(label[:, ::-1].astype(int)))
        for seed in range(400)
    ]
    assert np.mean(mirrored) == pytest.approx(0.5, abs=0.08)


def test_a_plain_transform_leaves_a_fitting_picture_as_it_is() -> None:
    image, label = picture(32, 32)
    planes, labels, padding = TrainTransform(PLAIN)(image, label, rng())
    assert np.array_equal(planes.permute(1, 2, 0), image) and np.array_equal(labels, label)
    assert not padding.any()


def test_levels_are_normalised_by_channel() -> None:
    image, _ = picture(32, 32)
    expected = (image.transpose(2, 0, 1) - np.array(PLAIN.mean)[:, None, None]) / np.array(PLAIN.std)[
        :, None, None
    ]
    planes = normalise(image, PLAIN.mean, PLAIN.std)
    assert np.allclose(planes, expected, atol=1e-5)
    levels = torch.from_numpy(image.transpose(2, 0, 1).copy())
    assert torch.equal(normalise_levels(levels[None], PLAIN.mean, PLAIN.std)[0], planes)


def test_the_generator_decides_a_sample() -> None:
    image, label = picture(50, 70)
    transform = TrainTransform(PUBLISHED)
    first, again, other = (transform(image, label, rng(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_transforms_leave_their_input_as_it_was() -> None:
    image, label = picture(50, 70)
    copies = image.copy(), label.copy()
    for seed in range(20):
        TrainTransform(PUBLISHED)(image, label, rng(seed))
    assert np.array_equal(image, copies[0]) and np.array_equal(label, copies[1])


def test_evaluation_resizes_pictures_and_keeps_label_sizes() -> None:
    image, label = picture(30, 45)
    planes, labels, padding = EvalTransform(PLAIN, short_side=64)(image, label, rng())
    assert planes.shape == (3, 64, 96) and labels.shape == (30, 45)
    assert not padding.any()


def test_evaluation_without_a_ratio_sees_squares() -> None:
    image, label = picture(30, 45)
    planes, labels, _ = EvalTransform(PLAIN, short_side=64, keep_ratio=False)(image, label, rng())
    assert planes.shape == (3, 64, 64) and labels.shape == (30, 45)


def test_evaluation_without_a_short_side_keeps_the_pictures_size() -> None:
    image, label = picture(30, 45)
    planes, _, _ = EvalTransform(PLAIN, short_side=None)(image, label, rng())
    assert torch.equal(planes, normalise(image, PLAIN.mean, PLAIN.std))
