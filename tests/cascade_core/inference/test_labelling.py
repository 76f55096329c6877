"""Labels from tiles, strips and chunks of classes against the definition, with maps of all classes at once."""

import math
from dataclasses import replace
from itertools import product
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cascade_core.batches.transforms import normalise, resize_image
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import Average, EvalConfig
from cascade_core.configs.recipes import recipe
from cascade_core.configs.settings import ScoreFunction
from cascade_core.errors import UserError
from cascade_core.inference.background import with_background
from cascade_core.inference.label_maps import label_maps, label_photographs, view_batch
from cascade_core.inference.labelling import best_classes, strips
from cascade_core.inference.resampling import Side, window_origins
from cascade_core.inference.strips import Limits
from cascade_core.inference.tiles import Tiles, Tiling, cpu_tiling
from cascade_core.inference.views import View, views
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.background import Background
from cascade_core.model.build import build_segmentor
from cascade_core.model.probabilities import probabilities
from cascade_core.model.segmentor import Classes
from cascade_core.model.trunk import TrunkFeatures
from tests.pixel_segmentor import PixelSegmentor, pixels
from tests.score_maps import score_maps
from tests.tiny import tiny_config

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
SLIDE = EvalConfig(mode="slide", short_side=None, crop_size=32, stride=24, batch_size=3)
WHOLE = EvalConfig(mode="whole", short_side=None)
SMALL_TILES = Tiling(height=7, width=9, numbers=400, bounded=True)
TIGHT = Limits(strip_pixels=2500, logits=200, tiling=SMALL_TILES)
"""Limits with chunks of a few classes, several strips, and maps of one or two classes."""
AT_ONCE = Limits(tiling=Tiling(height=999, width=999, numbers=2**25, bounded=False))


def vocabulary(
    score_function: ScoreFunction = "sigmoid", *, num_classes: int = 7, sharp: float = 1.0
) -> Vocabulary:
    """Return classes of a tiny untrained model; `sharp` separates them as training would."""
    config = tiny_config().model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        visual = VisionTransformer(config.clip)
        vectors = sharp * F.normalize(torch.randn(num_classes, config.clip.embed_dim), dim=-1)
    segmentor = build_segmentor(config, visual, seed=3).eval()
    seen = [i for i in (0, 2, 5) if i < num_classes]
    return Vocabulary(segmentor, vectors, score_function, seen=seen, seen_penalty=0.1)


@pytest.mark.parametrize(
    "background",
    [
        Background(),
        Background(policy="threshold", threshold=0.5),
        Background(policy="prompts", names=("sky", "wall")),
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["slide", "whole"])
def test_the_penalty_changes_nothing_if_all_classes_are_seen(
    background: Background, mode: Literal["slide", "whole"]
) -> None:
    model, names = vocabulary(sharp=3.0), len(background.names)
    evaluate = {"slide": SLIDE, "whole": WHOLE}[mode].model_copy(update={"background": background})
    all_ids = list(range(len(model) - names))
    plain, all_pay, some_pay = (
        label_maps(
            replace(model, seen=seen, seen_penalty=penalty, background_names=names),
            noise(2, 40, 56),
            evaluate=evaluate,
            size=(40, 56),
        )
        for seen, penalty in ((all_ids, 0.0), (all_ids, 0.3), (all_ids[1:], 0.3))
    )
    assert torch.equal(plain, all_pay)
    assert not torch.equal(plain, some_pay)  # one class is unseen there


def noise(batch: int, height: int, width: int) -> Tensor:
    coarse = torch.randn(batch, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)


@torch.no_grad()
def defined(model: Vocabulary, images: Tensor, evaluate: EvalConfig, size: tuple[int, int]) -> Tensor:
    """Compute scores by definition: window by window, with maps of all classes, resized by torch."""
    height, width = images.shape[-2:]
    crop, stride = (
        (evaluate.crop_size, evaluate.stride) if evaluate.mode == "slide" else (max(height, width),) * 2
    )
    total, visits = torch.zeros(len(images), len(model), height, width), torch.zeros(height, width)
    of_logits = evaluate.average == "logits"
    for top, left in product(window_origins(height, crop, stride), window_origins(width, crop, stride)):
        area = (..., slice(top, top + crop), slice(left, left + crop))
        masks = model.segmentor(images[area], model.class_vectors)
        masks = masks if of_logits else probabilities(masks, model.score_function)
        total[area] += _resized(masks, total[area].shape[-2:])
        visits[area] += 1
    means = _resized(total / visits, size)
    return (probabilities(means, model.score_function) if of_logits else means) - model.penalties[
        :, None, None
    ]


def _resized(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


@torch.no_grad()
@pytest.mark.parametrize("limits", [None, TIGHT], ids=["roomy", "tight"])
def test_windows_and_the_whole_picture_have_equal_shares(limits: Limits | None) -> None:
    model, images, size = vocabulary(sharp=3.0), noise(2, 40, 56), (50, 61)
    both = SLIDE.model_copy(update={"mode": "slide_and_whole"})
    by_windows = defined(model, images, SLIDE, (40, 56)) + model.penalties[:, None, None]
    whole = model.segmentor(_resized(images, (32, 32)), model.class_vectors).sigmoid()
    means = (by_windows + _resized(whole, (40, 56))) / 2
    expected = _resized(means, size) - model.penalties[:, None, None]
    maps = score_maps(model, images, evaluate=both, size=size, limits=limits)
    torch.testing.assert_close(maps, expected, atol=2e-5, rtol=0)


class Coupled(PixelSegmentor):
    """Notes how many classes come at a time."""

    coupled_classes = True

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def decode(self, features: TrunkFeatures, classes: Classes) -> Tensor:
        self.calls.append(len(classes))
        return super().decode(features, classes)


def test_coupled_classes_come_all_at_once() -> None:
    coupled, images = Coupled(), 8 * noise(1, 40, 56)
    labels = [
        label_maps(pixels(segmentor=segmentor), images, evaluate=SLIDE, size=(60, 70), limits=TIGHT)
        for segmentor in (coupled, None)
    ]
    assert set(coupled.calls) == {3} and torch.equal(*labels)


def test_coupled_classes_pay_no_penalty() -> None:
    coupled = pixels(segmentor=Coupled())
    with pytest.raises(UserError, match=r"seen penalty 0\.1: a class's score depends on which other"):
        replace(coupled, seen=[0], seen_penalty=0.1)
    for key in ("evaluate.seen_penalty", "self_train.strict_seen_penalty"):
        with pytest.raises(UserError, match=f"{key}=0.2, but with .*; give {key}=0"):
            recipe("mini_cat_seg", {key: 0.2})


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_scores_follow_the_definition_for_all_sizes_and_tilings(data: st.DataObject) -> None:
    side, small = st.integers(8, 60), st.integers(1, 60)
    score_function: ScoreFunction = data.draw(st.sampled_from(["sigmoid", "softmax"]))
    model = vocabulary(score_function, num_classes=data.draw(st.integers(1, 9)))
    images = noise(data.draw(st.integers(1, 2)), data.draw(side), data.draw(side))
    crop = data.draw(st.integers(8, 40))
    evaluate = EvalConfig(
        mode=data.draw(st.sampled_from(["whole", "slide"])),
        short_side=None,
        crop_size=crop,
        stride=data.draw(st.integers(min(6, crop), crop)),
        batch_size=data.draw(st.integers(1, 5)),
        average=data.draw(st.sampled_from(["probabilities", "logits"])),
    )
    size = data.draw(small), data.draw(small)
    limits = data.draw(st.sampled_from([None, TIGHT, AT_ONCE]))
    scores = defined(model, images, evaluate, size)
    maps = score_maps(model, images, evaluate=evaluate, size=size, limits=limits)
    torch.testing.assert_close(maps, scores, atol=2e-5, rtol=0)
    # Where two classes are equal up to rounding, either may win.
    labels = label_maps(model, images, evaluate=evaluate, size=size, limits=limits)
    label_scores = scores.gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(label_scores, scores.amax(dim=1), atol=4e-5, rtol=0)


@pytest.mark.parametrize("average", ["probabilities", "logits"])
@pytest.mark.parametrize("score_function", ["sigmoid", "softmax"])
@pytest.mark.parametrize("limits", [None, TIGHT, AT_ONCE], ids=["roomy", "tight", "at once"])
def test_a_class_scores_the_maximum_of_its_synonyms(
    score_function: ScoreFunction, average: Average, limits: Limits | None
) -> None:
    # Vectors 0..4 are of classes 0, 0, 1, 2, 2, and 5 and 6 of background; classes 0 and 2 pay the penalty.
    queries = [0, 0, 1, 2, 2]
    model = replace(
        vocabulary(score_function, sharp=3.0),
        seen=(0, 2),
        query_classes=queries,
        background_names=2,
        seen_penalty=0.02,
    )
    assert (model.num_classes, model.penalty) == (3, 0.02)
    assert model.penalties.tolist() == pytest.approx([0.02, 0.02, 0, 0.02, 0.02, 0, 0])
    images, size = noise(2, 40, 56), (50, 61)
    evaluate = SLIDE.model_copy(update={"average": average})
    scores = defined(model, images, evaluate, size)
    of_class = torch.stack([scores[:, own].amax(dim=1) for own in ([0, 1], [2], [3, 4], [5, 6])], dim=1)
    best = of_class.amax(dim=1)
    threshold = best.quantile(0.3).item()
    background = Background(policy="prompts", names=("sky", "wall"), threshold=threshold)
    evaluate = evaluate.model_copy(update={"background": background})
    labels, confidence = best_classes(
        model, [view_batch(images)], size=size, evaluate=evaluate, limits=limits
    )
    own = of_class.gather(1, labels[:, None])[:, 0]
    # Where two scores are equal up to rounding, either may win.
    torch.testing.assert_close(own[best > threshold + 4e-5], best[best > threshold + 4e-5], atol=4e-5, rtol=0)
    assert (labels[best < threshold - 4e-5] == 3).all()
    assert len(labels.unique()) > 2
    penalties = torch.tensor([0.02, 0, 0.02, 0])[of_class.argmax(dim=1)]
    assert (confidence - best - penalties).abs().quantile(0.99) < 4e-5


def test_maximum_and_mean_of_single_names_agree() -> None:
    model = replace(vocabulary(sharp=3.0), background_names=4)
    apart = replace(model, query_classes=range(3))
    background = Background(policy="prompts", names=("sky", "wall", "sea", "road"))
    evaluate = SLIDE.model_copy(update={"background": background})
    one, other = (label_maps(m, noise(2, 40, 56), evaluate=evaluate, size=(50, 61)) for m in (model, apart))
    assert torch.equal(one, other) and int(one.max()) == 3


def test_a_part_of_the_classes_keeps_their_synonyms() -> None:
    model = replace(vocabulary(), query_classes=[0, 0, 1, 2, 2], background_names=2, seen=(0, 2))
    part = model.among([2, 0])
    assert part.query_classes == [0, 0, 1, 1] and part.background_names == 2 and part.seen == ()
    assert torch.equal(part.class_vectors, model.class_vectors[[3, 4, 0, 1, 5, 6]])
    single = replace(vocabulary(), background_names=2).among([2, 0])
    assert single.query_classes is None
    assert torch.equal(single.class_vectors, model.class_vectors[[2, 0, 5, 6]])


@pytest.mark.parametrize("evaluate", [WHOLE, SLIDE], ids=["whole", "slide"])
def test_ruling_out_classes_that_cannot_win_changes_no_label(evaluate: EvalConfig) -> None:
    # On each cell of a checkerboard one class is far ahead, as with a trained model.
    model, images = pixels(), 8 * noise(1, 40, 56).sign()
    tiling = Tiling(height=8, width=8, numbers=2**18, bounded=True)
    num_candidates: list[int] = []
    scores = Tiles.scores

    def counted(self: Tiles, row: int, column: int, classes: Tensor | slice) -> Tensor:
        num_candidates.append(len(classes) if isinstance(classes, Tensor) else classes.stop)
        return scores(self, row, column, classes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tiles, "scores", counted)
        labels = label_maps(model, images, evaluate=evaluate, size=(60, 70), limits=Limits(tiling=tiling))
    assert set(num_candidates) == {1, 2, 3}
    at_once = label_maps(model, images, evaluate=evaluate, size=(60, 70), limits=AT_ONCE)
    assert torch.equal(labels, at_once)


@pytest.mark.parametrize("score_function", ["sigmoid", "softmax"])
@pytest.mark.parametrize("mode", ["whole", "slide"])
@pytest.mark.parametrize("limits", [None, TIGHT], ids=["roomy", "tight"])
def test_views_are_averaged_and_mirrored_back(
    score_function: ScoreFunction, mode: Literal["whole", "slide"], limits: Limits | None
) -> None:
    model, seen = vocabulary(score_function), views((0.75,) if limits else (0.75, 1.25), flip=True)
    evaluate = EvalConfig(mode=mode, short_side=36, crop_size=32, stride=24)
    picture = photo(36, 50) if score_function == "sigmoid" else photo(50, 36)
    classes, confidence = label_photographs(
        model, [picture], views=seen, evaluate=evaluate, mean=MEAN, std=STD, limits=limits
    )
    total = torch.zeros(1, len(model), *picture.shape[:2])
    for view in seen:
        size = view.size(picture.shape[:2], short_side=36, patch_size=8)
        resized = resize_image(picture, size)
        image = normalise(resized[:, ::-1] if view.mirrored else resized, MEAN, STD)[None]
        scores = defined(model, image, evaluate, size)
        total += _resized(scores.flip(-1) if view.mirrored else scores, picture.shape[:2]) / len(seen)
    ids = torch.from_numpy(classes).long()
    label_scores = total.gather(1, ids[:, None])[:, 0]
    torch.testing.assert_close(label_scores, total.amax(dim=1), atol=4e-5, rtol=0)
    probability = label_scores + model.penalties[ids]
    assert np.allclose(confidence, probability.numpy(), atol=4e-5)


def photo(height: int = 36, width: int = 70) -> np.ndarray:
    coarse = np.random.default_rng(2).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    return resize_image(coarse, (height, width))


@pytest.mark.parametrize(
    "background",
    [
        Background(),
        Background(policy="threshold", threshold=0.45),
        Background(policy="prompts", names=("sky", "wall")),
    ],
    ids=lambda background: background.policy,
)
def test_a_batch_is_labelled_like_its_pictures_one_by_one(background: Background) -> None:
    model = replace(vocabulary(), background_names=len(background.names))
    images = noise(3, 40, 56)
    evaluate = SLIDE.model_copy(update={"background": background})
    together = label_maps(model, images, evaluate=evaluate, size=(50, 61))
    scores = defined(model, images, evaluate, (50, 61)).max(dim=1)
    expected = with_background(
        scores.values, scores.indices, background=background, num_classes=model.num_classes
    )
    assert (together != expected).float().mean() < 0.002
    for image, labels in zip(images, together, strict=True):
        single = label_maps(model, image[None], evaluate=evaluate, size=(50, 61))
        assert (single[0] != labels).float().mean() < 0.002


def test_a_model_in_half_precision_is_scored_in_single_precision() -> None:
    model = vocabulary()
    half = Vocabulary(model.segmentor.bfloat16(), model.class_vectors.bfloat16(), "sigmoid")
    images, evaluate = noise(1, 40, 56).bfloat16(), SLIDE.model_copy(update={"batch_size": 1})
    scores = score_maps(half, images, evaluate=evaluate, size=(50, 61))
    expected = defined(half, images, evaluate, (50, 61))
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, expected, atol=2e-5, rtol=0)


def test_bf16_applies_to_pictures_but_not_to_text_or_scores() -> None:
    model, dtypes = vocabulary(), []
    model.segmentor.trunk.register_forward_hook(lambda _, __, features: dtypes.append(features.patches.dtype))
    evaluate = SLIDE.model_copy(update={"precision": "bf16"})
    _, confidence = best_classes(model, [view_batch(noise(1, 32, 32))], size=(9, 9), evaluate=evaluate)
    assert dtypes == [torch.bfloat16]
    assert model.prepared.terms[0].dtype == confidence.dtype == torch.float32


def test_the_trunk_sees_windows_in_batches() -> None:
    model, batches = vocabulary(), []
    model.segmentor.trunk.register_forward_hook(lambda _, inputs, __: batches.append(len(inputs[0])))
    label_maps(model, noise(1, 32, 104), evaluate=SLIDE, size=(9, 9))
    assert batches == [3, 1]


def test_thousands_of_labels_share_one_set_of_trunk_features() -> None:
    model, batches = vocabulary(num_classes=2000), []
    model.segmentor.trunk.register_forward_hook(lambda _, inputs, __: batches.append(len(inputs[0])))
    classes, _ = label_photographs(
        model, [photo()], views=views(), evaluate=WHOLE, mean=MEAN, std=STD, limits=Limits(logits=2**14)
    )
    assert batches == [1]
    assert classes.max() > 255


@pytest.mark.parametrize("number", [2_000, 20_000])
def test_no_map_of_scores_is_larger_than_the_limit(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes, sigmoid = vocabulary(num_classes=60), [], Tensor.sigmoid_
    monkeypatch.setattr(Tensor, "sigmoid_", lambda maps: sizes.append(maps.numel()) or sigmoid(maps))
    limits = Limits(tiling=Tiling(height=16, width=16, numbers=number, bounded=False))
    label_maps(model, noise(1, 36, 70), evaluate=SLIDE, size=(36, 70), limits=limits)
    assert number / 4 < max(sizes) <= number < 60 * 36 * 70


def test_a_picture_20000_pixels_wide_is_cut_into_strips() -> None:
    cut = strips((16, 20_000), 7)
    widths = [right - left for _, (left, right) in cut]
    assert sum(widths) == 20_000 and max(widths) <= 2_858
    picture = np.zeros((16, 20_000, 3), dtype=np.uint8)
    evaluate = EvalConfig(mode="slide", short_side=None, crop_size=320, stride=320, batch_size=8)
    tiling = Tiling(height=16, width=400, numbers=2**18, bounded=False)
    limits, model, batches = Limits(strip_pixels=2**16, tiling=tiling), vocabulary(num_classes=2), []
    model.segmentor.trunk.register_forward_hook(lambda _, inputs, __: batches.append(len(inputs[0])))
    classes, _ = label_photographs(
        model, [picture], views=views(), evaluate=evaluate, mean=MEAN, std=STD, limits=limits
    )
    assert classes.shape == (1, 16, 20_000)
    # The trunk sees windows that two strips share twice.
    assert math.ceil(20_000 / 320) <= sum(batches) <= math.ceil(20_000 / 320) + 4


def test_the_first_of_equal_classes_wins_also_across_chunks() -> None:
    # Zeros, since products of matrices may round equal rows differently.
    for limits in (Limits(logits=1), None):
        labels = label_maps(
            pixels(3), torch.zeros(1, 3, 36, 70), evaluate=WHOLE, size=(50, 60), limits=limits
        )
        assert not labels.any()


@pytest.mark.parametrize("background", [Background(), Background(policy="threshold", threshold=0.4)])
@pytest.mark.parametrize("limits", [None, TIGHT, AT_ONCE], ids=["roomy", "tight", "at once"])
def test_scores_that_are_not_numbers_become_no_class(background: Background, limits: Limits | None) -> None:
    model = vocabulary()
    broken = Vocabulary(model.segmentor, model.class_vectors * torch.nan, "sigmoid")
    evaluate = WHOLE.model_copy(update={"background": background})
    labels = label_maps(broken, noise(1, 36, 70), evaluate=evaluate, size=(50, 60), limits=limits)
    assert (labels == -1).all()
    with pytest.raises(ValueError, match="scores are not numbers at 2,520 of 2,520 pixels"):
        label_photographs(
            broken, [photo()], views=views(), evaluate=evaluate, mean=MEAN, std=STD, limits=limits
        )


@pytest.mark.parametrize("limits", [None, TIGHT], ids=["roomy", "tight"])
@pytest.mark.parametrize("broken", [0, 30, 59])
def test_one_class_of_nan_is_reported_among_any_number(broken: int, limits: Limits | None) -> None:
    model = vocabulary(num_classes=60)
    vectors = model.class_vectors.clone()
    vectors[broken, 3] = torch.nan
    model = Vocabulary(model.segmentor, vectors, "sigmoid")
    # Maps of a few of the 60 classes at a time: the others of them have scores at every pixel.
    limits = limits or Limits(tiling=Tiling(height=16, width=16, numbers=3000, bounded=True))
    with pytest.raises(ValueError, match="scores are not numbers at 2,520 of 2,520 pixels"):
        label_photographs(model, [photo()], views=views(), evaluate=WHOLE, mean=MEAN, std=STD, limits=limits)


@pytest.mark.parametrize("num_classes", [3, 1000])
def test_one_logit_of_nan_changes_no_label_silently(num_classes: int) -> None:
    draw = torch.Generator().manual_seed(0)
    model = Vocabulary(pixels(3).segmentor, torch.randn(num_classes, 3, generator=draw), "sigmoid")
    images = 3 * torch.randn(1, 3, 36, 70, generator=draw)
    clean = label_maps(model, images, evaluate=WHOLE, size=(50, 60))
    images[0, 1, 10, 20] = torch.nan
    labels = label_maps(model, images, evaluate=WHOLE, size=(50, 60))
    # With many classes maps are computed in tiles, and only those that the logit reaches are broken.
    assert (labels == -1).any() and ((labels == clean) | (labels == -1)).all()


@pytest.mark.parametrize(
    ("picture", "num_classes", "size"),
    [(4096, 171, (128, 128)), (512, 171, (32, 64)), (512, 1000, (16, 32)), (512, 20, (128, 128))],
)
def test_tiles_grow_with_the_picture_and_shrink_with_the_classes(
    picture: int, num_classes: int, size: tuple[int, int]
) -> None:
    side = Side(target=picture, view=512, window=512, mask=512, grid=32, origins=(0,))
    tiling = cpu_tiling([(side, side)], num_classes)
    assert (tiling.height, tiling.width) == size


def test_labelling_records_no_gradients() -> None:
    model = vocabulary()
    assert any(weight.requires_grad for weight in model.segmentor.parameters())
    _, confidence = best_classes(model, [view_batch(noise(1, 32, 32))], size=(9, 9), evaluate=WHOLE)
    assert not confidence.requires_grad


def test_vectors_of_another_clip_are_refused() -> None:
    model = vocabulary()
    with pytest.raises(ValueError, match=r"class vectors have shape \(7, 9\), expected \[classes, 16\]"):
        Vocabulary(model.segmentor, model.class_vectors[:, :9], "sigmoid")


def test_too_large_views_and_windows_are_refused() -> None:
    for limits, message in (
        (Limits(view_pixels=2000), "the model would see 70 x 36 pixels; at most 2,000 are possible: cut"),
        (
            Limits(tokens=20),
            "70 x 36 pixels at once, 32 patches; at most 20 are possible: use sliding windows",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            label_photographs(
                vocabulary(), [photo()], views=[View()], evaluate=WHOLE, mean=MEAN, std=STD, limits=limits
            )
