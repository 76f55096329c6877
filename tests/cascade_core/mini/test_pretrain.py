"""Pretraining of the tiny CLIP: stages, loss, schedule, and zero-shot accuracy."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from cascade_core.clip.weights import new_clip
from cascade_core.configs.backbones import MINI_CLIP
from cascade_core.configs.config import DataConfig
from cascade_core.datasets.mini import CLASSES
from cascade_core.mini.captions import names_in_view
from cascade_core.mini.mini_world import MINI_WORLD
from cascade_core.mini.pretrain import (
    LARGEST_LOGIT_SCALE,
    PIXEL_MEAN,
    PIXEL_STD,
    info_nce,
    learning_rate_at,
    normalise,
    pretrain,
)
from cascade_core.mini.stages import MINI_STAGES as STAGES
from cascade_core.mini.stages import Stage
from cascade_core.mini.vocabulary import THINGS
from cascade_core.mini.zero_shot import patch_accuracy, patch_vectors, zero_shot_accuracy


def short(*, steps: int, batch_size: int, stage: int = 0) -> Stage:
    return replace(STAGES[stage], steps=steps, batch_size=batch_size)


@pytest.fixture(scope="module")
def trained():
    clip = new_clip(MINI_CLIP, seed=0)
    reports = list(pretrain(clip, short(steps=16, batch_size=32), seed=0, warmup_steps=4))
    return clip, reports


def test_a_few_steps_reduce_the_loss(trained):
    _, reports = trained
    losses = [report.loss for report in reports]
    assert np.mean(losses[:2]) == pytest.approx(math.log(32), abs=1.5)
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.1
    assert [report.step for report in reports] == list(range(1, 17))


def test_the_seed_decides_the_training():
    runs = []
    for seed in (3, 3, 4):
        clip = new_clip(MINI_CLIP, seed=seed)
        runs.append([report.loss for report in pretrain(clip, short(steps=2, batch_size=8), seed=seed)])
    assert runs[0] == runs[1] != runs[2]


def test_captions_of_the_second_stage_name_a_part_of_the_classes():
    pictures, texts = STAGES[1].draw(np.random.default_rng(0), 64)
    assert pictures.images.shape[1:3] == (64, 64)
    in_view = [len(named) for named in names_in_view(MINI_WORLD, pictures.labels)]
    mentioned = [sum(word in CLASSES for word in text.split()) for text in texts]
    assert all(part <= whole for part, whole in zip(mentioned, in_view, strict=True))
    assert sum(mentioned) < 0.7 * sum(in_view)
    clip = new_clip(MINI_CLIP, seed=0)
    assert len(list(pretrain(clip, short(steps=2, batch_size=8, stage=1), seed=0))) == 2


def test_the_last_stage_mixes_scenes_things_and_close_ups():
    labels = STAGES[-1].draw(np.random.default_rng(0), 64)[0].labels
    classes_per_picture = [len(np.unique(row)) for row in labels]
    assert labels.shape == (64, 64, 64)
    assert set(classes_per_picture[48:]) == {1} and set(classes_per_picture[32:48]) <= {1, 2}
    assert max(classes_per_picture[:32]) >= 4


def test_the_scale_of_the_logits_stays_below_its_bound():
    clip = new_clip(MINI_CLIP, seed=0)
    assert clip.logit_scale.exp() > LARGEST_LOGIT_SCALE
    (report,) = pretrain(clip, short(steps=1, batch_size=8), seed=0)
    assert report.logit_scale == pytest.approx(LARGEST_LOGIT_SCALE)


def test_a_new_clip_does_not_change_the_global_generator():
    before = torch.random.get_rng_state()
    new_clip(MINI_CLIP, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_tiny_clip_has_the_promised_size():
    clip = new_clip(MINI_CLIP, seed=0)
    assert sum(weight.numel() for weight in clip.parameters()) == 526_849


def test_the_loss_is_the_mean_of_both_directions_in_loops():
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(2, 5, 3, generator=generator)
    scale = torch.tensor(7.0)
    expected = 0.0
    for i in range(5):
        for of, among in ((images, texts), (texts, images)):
            cosines = [torch.cosine_similarity(of[i], among[j], dim=0).item() for j in range(5)]
            expected += -math.log(math.exp(7 * cosines[i]) / sum(math.exp(7 * cosine) for cosine in cosines))
    loss, accuracy = info_nce(images, texts, scale)
    assert loss.item() == pytest.approx(expected / 10, rel=1e-5)
    assert 0 <= accuracy.item() <= 1


def test_pictures_with_the_same_caption_are_not_pulled_apart():
    images = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    loss, _ = info_nce(images, texts, torch.tensor(100.0))
    loss.backward()
    assert loss.item() == pytest.approx(2 * math.log(2) / 3, abs=1e-4)
    assert images.grad.abs().max() < 1e-5


def test_the_rate_warms_up_and_falls_to_nothing():
    rates = [learning_rate_at(step, steps=100, lr=1.0, warmup_steps=10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == 1.0 and rates[-1] < 1e-3
    assert all(earlier >= later for earlier, later in itertools.pairwise(rates[9:]))


def test_pixels_are_normalised_as_the_segmentor_has_them():
    assert DataConfig.model_fields["mean"].default == PIXEL_MEAN
    assert DataConfig.model_fields["std"].default == PIXEL_STD
    pixels = normalise(np.full((1, 2, 2, 3), 200, np.uint8))
    assert pixels.shape == (1, 3, 2, 2)
    assert pixels[0, 2, 0, 0].item() == pytest.approx((200 - 103.53) / 57.375, rel=1e-5)


def test_the_first_stage_mixes_windows_things_and_close_ups():
    labels = STAGES[0].draw(np.random.default_rng(0), 40)[0].labels
    classes_per_picture = [len(np.unique(row)) for row in labels]
    assert labels.shape == (40, 40, 40)
    assert set(classes_per_picture[26:]) == {1} and max(classes_per_picture[:16]) >= 3


def test_accuracies_are_reported_for_every_class(trained):
    clip, _ = trained
    objects = zero_shot_accuracy(clip, MINI_WORLD, seed=0, num_pictures=200)
    patches = patch_accuracy(clip, MINI_WORLD, seed=0, num_pictures=60)
    assert set(objects.per_class) == set(THINGS) and set(patches.per_class) == set(CLASSES)
    assert all(0 <= value <= 1 for value in (objects.seen, objects.unseen, patches.seen, patches.unseen))
    assert zero_shot_accuracy(clip, MINI_WORLD, seed=0, num_pictures=200) == objects


def test_patch_vectors_follow_the_size_of_the_picture():
    clip = new_clip(MINI_CLIP, seed=0)
    assert patch_vectors(clip, torch.zeros(2, 3, 64, 64)).shape == (2, 64, 64)


def test_a_stage_without_steps_is_refused():
    clip = new_clip(MINI_CLIP, seed=0)
    with pytest.raises(ValueError, match="steps=0"):
        next(pretrain(clip, short(steps=0, batch_size=8), seed=0))
