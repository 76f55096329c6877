"""Prediction in chunks of classes and strips of the picture: the numbers of evaluation, whatever fits into memory."""

from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_core.clip.vision import VisionTransformer
from cascade_core.config import EvalConfig
from cascade_core.data.transforms import normalise, resize_image
from cascade_core.evaluate.bounded import Limits, best_classes
from cascade_core.evaluate.inference import scorer
from cascade_core.evaluate.sliding import slide
from cascade_core.evaluate.strips import Box, resized_part, source_box, strips, whole
from cascade_core.evaluate.views import View, views
from cascade_core.evaluate.vocabulary import Vocabulary
from cascade_core.model.build import build_segmentor
from tests.tiny import tiny_config

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
NUM_CLASSES, SEEN = 7, (0, 2, 5)
TIGHT = Limits(scores=8000, seen_pixels=9000, target_pixels=2000)
"""A chunk is one or two classes, and a picture has two strips."""


def vocabulary(kind: Literal["focal_dice", "cross_entropy"], *, num_classes: int = NUM_CLASSES) -> Vocabulary:
    config = tiny_config().model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        visual = VisionTransformer(config.clip)
        vectors = F.normalize(torch.randn(num_classes, config.clip.embed_dim), dim=-1)
    segmentor = build_segmentor(config, visual, seed=3).eval()
    return Vocabulary(segmentor, vectors, kind, seen=SEEN[: num_classes // 2], seen_penalty=0.1)


def photo(height: int = 36, width: int = 70) -> np.ndarray:
    coarse = np.random.default_rng(2).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    return resize_image(coarse, (height, width))


def expected(
    asked: Vocabulary, picture: np.ndarray, evaluate: EvalConfig, seen: tuple[View, ...]
) -> torch.Tensor:
    """The definition, with maps of all classes at once: evaluation's scores of each view, averaged."""
    predict = scorer(
        asked.segmentor,
        asked.class_vectors,
        kind=asked.kind,
        seen=asked.seen,
        seen_penalty=asked.seen_penalty,
    )
    total = torch.zeros(len(asked), *picture.shape[:2])
    for view in seen:
        size = view.size(picture.shape[:2], short_side=evaluate.short_side, patch_size=8)
        shown = resize_image(picture, size)
        image = normalise(shown[:, ::-1] if view.mirrored else shown, MEAN, STD)[None]
        if evaluate.mode == "whole":
            scores = predict(image)
        else:
            scores = slide(predict, image, crop=32, stride=24, num_classes=len(asked))
        scores = scores.flip(-1) if view.mirrored else scores
        total += F.interpolate(scores, size=picture.shape[:2], mode="bilinear", align_corners=False)[0]
    return total / len(seen)


@pytest.mark.parametrize("limits", [None, TIGHT], ids=["roomy", "tight"])
@pytest.mark.parametrize("mode", ["whole", "slide"])
@pytest.mark.parametrize("kind", ["focal_dice", "cross_entropy"])
def test_chunks_and_strips_give_what_all_classes_at_once_give(
    kind: Literal["focal_dice", "cross_entropy"], mode: Literal["whole", "slide"], limits: Limits | None
) -> None:
    asked, seen = vocabulary(kind), views((0.75,), flip=True) if limits else views((0.75, 1.25), flip=True)
    evaluate = EvalConfig(mode=mode, short_side=36, crop_size=32, stride=24)
    picture = photo() if kind == "focal_dice" else np.ascontiguousarray(photo().swapaxes(0, 1))
    found = best_classes(asked, [picture], views=seen, evaluate=evaluate, mean=MEAN, std=STD, limits=limits)
    scores, ids = expected(asked, picture, evaluate, seen), torch.from_numpy(found.classes[0]).long()
    # Where two classes are equal up to rounding, either may win.
    chosen = scores.gather(0, ids[None])[0]
    assert torch.allclose(chosen, scores.amax(dim=0), atol=1e-5)
    assert (ids == scores.argmax(dim=0)).float().mean() > 0.99
    probability = chosen + asked.penalties[ids]
    assert np.allclose(found.confidence[0], probability.numpy(), atol=1e-5)


def test_no_map_of_scores_is_larger_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = vocabulary("focal_dice", num_classes=60)
    largest, interpolate = 0, F.interpolate

    def measured(scores: torch.Tensor, **options: object) -> torch.Tensor:
        nonlocal largest
        resized = interpolate(scores, **options)
        largest = max(largest, resized.numel())
        return resized

    monkeypatch.setattr(F, "interpolate", measured)
    evaluate = EvalConfig(mode="slide", short_side=None, crop_size=32, stride=24)
    limits = Limits(scores=20_000)
    best_classes(asked, [photo()], views=views(), evaluate=evaluate, mean=MEAN, std=STD, limits=limits)
    assert 5_000 < largest <= limits.scores < 60 * photo()[..., 0].size / 5


def test_thousands_of_labels_share_one_set_of_trunk_features() -> None:
    asked = vocabulary("focal_dice", num_classes=2000)
    seen = []
    hook = asked.segmentor.trunk.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    evaluate = EvalConfig(mode="whole", short_side=None)
    found = best_classes(
        asked, [photo()], views=views(), evaluate=evaluate, mean=MEAN, std=STD, limits=Limits(scores=2**20)
    )
    hook.remove()
    assert seen == [1]
    assert found.classes.max() > 255


def test_a_picture_20000_pixels_wide_is_cut_into_strips() -> None:
    cut = strips((16, 20_000), 7)
    assert sum(strip.width for strip in cut) == 20_000 and max(strip.width for strip in cut) <= 2_858
    picture = np.zeros((16, 20_000, 3), dtype=np.uint8)
    evaluate = EvalConfig(mode="slide", short_side=None, crop_size=320, stride=320, batch_size=8)
    limits = Limits(scores=2**18, seen_pixels=2**16, target_pixels=2**16)
    asked = vocabulary("focal_dice", num_classes=2)
    found = best_classes(
        asked, [picture], views=views(), evaluate=evaluate, mean=MEAN, std=STD, limits=limits
    )
    assert found.classes.shape == (1, 16, 20_000)


def test_one_class_wins_everywhere_and_the_first_of_equals_wins() -> None:
    asked = vocabulary("focal_dice", num_classes=2)
    twins = Vocabulary(asked.segmentor, asked.class_vectors[[1, 1, 1]], "focal_dice")
    evaluate = EvalConfig(mode="whole", short_side=None)
    found = best_classes(
        twins, [photo()], views=views(), evaluate=evaluate, mean=MEAN, std=STD, limits=Limits(scores=1)
    )
    assert not found.classes.any()


@settings(max_examples=40)
@given(st.data())
def test_a_part_is_resized_as_it_is_in_the_whole(data: st.DataObject) -> None:
    side = st.integers(1, 40)
    source_size, target_size = (data.draw(side), data.draw(side)), (data.draw(side), data.draw(side))
    scores = torch.rand(1, 2, *source_size, generator=torch.Generator().manual_seed(0))
    resized = F.interpolate(scores, size=target_size, mode="bilinear", align_corners=False)
    for strip in strips(target_size, data.draw(st.integers(1, 5))):
        source = source_box(strip, target_size, source_size)
        down, across = source.slices
        part = resized_part(scores[..., down, across], source, source_size, strip, target_size)
        down, across = strip.slices
        assert torch.allclose(part, resized[..., down, across], atol=1e-5)


def test_boxes_meet_or_do_not() -> None:
    box = whole((10, 20))
    assert box.shared(Box(8, 12, 15, 30)) == Box(8, 10, 15, 20)
    assert box.shared(Box(10, 12, 0, 5)) is None
    assert Box(0, 10, 0, 5).mirrored(20) == Box(0, 10, 15, 20)


def test_views_come_in_the_order_of_scales_each_with_its_mirror_image() -> None:
    assert views((1.0, 0.5), flip=True) == (View(1.0), View(1.0, True), View(0.5), View(0.5, True))
    assert View(0.5).size((40, 90), short_side=None, patch_size=8) == (20, 45)
    assert View(1.0).size((1, 4), short_side=None, patch_size=8) == (8, 32)


@pytest.mark.parametrize(
    ("scales", "told"),
    [((), "no scale"), ((0.0,), "scale 0.0 is not"), ((float("nan"),), "scale nan"), ((1.0, 1.0), "twice")],
)
def test_unusable_scales_are_refused(scales: tuple[float, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        views(scales)
