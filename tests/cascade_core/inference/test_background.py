"""Background policies against a definition in loops, and the splits that score them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cascade_core.configs.config import EvalConfig
from cascade_core.datasets.catalogue import protocol
from cascade_core.inference.background import scored_split, with_background
from cascade_core.inference.label_maps import label_maps
from cascade_core.labels.background import Background
from cascade_core.model.segmentor import Classes
from cascade_core.model.trunk import TrunkFeatures
from cascade_core.scoring.confusion import ConfusionMatrix
from cascade_core.scoring.scores import scores
from tests.pixel_segmentor import PixelSegmentor, pixels

# Few levels, so that equal scores, and scores at the threshold, occur.
LEVELS = st.sampled_from([-0.1, 0.0, 0.25, 0.5, 0.75])
SCORES = st.lists(st.lists(LEVELS, min_size=5, max_size=5), min_size=6, max_size=6)


def predicted(rows: list[list[float]], background: Background, num_classes: int = 5) -> list[int]:
    """Label a picture of one row with these scores."""
    best_scores, best = torch.tensor(rows).max(dim=1)
    return (
        with_background(
            best_scores[None, None], best[None, None], background=background, num_classes=num_classes
        )
        .flatten()
        .tolist()
    )


@settings(max_examples=30)
@given(SCORES, st.sampled_from([0.0, 0.25, 0.3, 1.0]))
def test_below_the_threshold_is_background(pixels: list[list[float]], threshold: float) -> None:
    expected = [
        5 if all(score < threshold for score in pixel) else pixel.index(max(pixel)) for pixel in pixels
    ]
    assert predicted(pixels, Background(policy="threshold", threshold=threshold)) == expected


@settings(max_examples=30)
@given(SCORES, st.integers(1, 4), st.sampled_from([None, 0.25, 0.6]))
def test_a_prompt_wins_a_pixel_only_above_the_best_class(
    pixels: list[list[float]], count: int, threshold: float | None
) -> None:
    expected = []
    for pixel in pixels:
        classes, prompts = pixel[: 5 - count], pixel[5 - count :]
        is_background = max(prompts) > max(classes) or max(pixel) < (threshold or -1)
        expected.append(5 - count if is_background else classes.index(max(classes)))
    background = Background(policy="prompts", names=tuple("abcd"[:count]), threshold=threshold)
    assert predicted(pixels, background, num_classes=5 - count) == expected


@settings(max_examples=30)
@given(SCORES)
def test_dropped_background_is_never_predicted(pixels: list[list[float]]) -> None:
    assert predicted(pixels, Background()) == [pixel.index(max(pixel)) for pixel in pixels]


def test_scores_are_resized_before_the_threshold() -> None:
    low_high = torch.tensor([0.2, 0.6]).logit().expand(1, 3, 1, 2)
    settings = EvalConfig(
        mode="whole", short_side=None, background=Background(policy="threshold", threshold=0.4)
    )
    resized = label_maps(pixels(1), low_high, evaluate=settings, size=(1, 4))
    # Bilinear: 0.2, 0.3, 0.5, 0.6.
    assert resized.flatten().tolist() == [1, 1, 0, 0]


class Growing(PixelSegmentor):
    """Scores one class 0 to 1 from the left to the right of a window, whatever the picture."""

    def decode(self, features: TrunkFeatures, classes: Classes) -> Tensor:
        ramp = torch.linspace(0, 1, features.grid[1]).logit().clamp(-50, 50)
        return ramp.expand(len(features.patches), 1, *features.grid)


def test_sliding_windows_are_averaged_before_the_threshold() -> None:
    settings = EvalConfig(
        mode="slide",
        short_side=None,
        crop_size=4,
        stride=2,
        background=Background(policy="threshold", threshold=0.5),
    )
    maps = label_maps(pixels(1, Growing()), torch.zeros(1, 3, 4, 6), evaluate=settings, size=(4, 6))
    # Of windows 0..3 and 2..5, columns 2 and 3 average 2/3 with 0, and 1 with 1/3.
    assert maps[0, 0].tolist() == [1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("background", "classes"),
    [(Background(policy="threshold", threshold=0.3), 21), (Background(), 20)],
)
def test_background_counts_as_a_seen_class_unless_it_is_dropped(background: Background, classes: int) -> None:
    split = protocol("voc12-15-5")
    scored = scored_split(split, background)
    assert scored.num_classes == classes and scored.unseen == split.unseen
    assert scored.label_set.raw_to_train[0] == (20 if classes == 21 else 255)


def test_the_metric_has_background_as_a_class_of_context60() -> None:
    scored = scored_split(protocol("context60"), Background(policy="threshold", threshold=0.1))
    truth = torch.tensor([[59, 59, 0, 1]])
    confusion = ConfusionMatrix(scored.num_classes)
    confusion.update(torch.tensor([[59, 0, 0, 59]]), truth)
    result = scores(confusion, scored)
    assert scored.num_classes == 60 and result.pAcc == 0.5
    assert (result.iou[59], result.iou[0], result.iou[1]) == (pytest.approx(1 / 3), 0.5, 0.0)
    assert result.miou == pytest.approx((1 / 3 + 0.5 + 0.0) / 3)


def test_context60_needs_a_policy_that_predicts_background() -> None:
    with pytest.raises(
        ValueError, match="'context60' counts background as a class, and policy 'dropped' never"
    ):
        scored_split(protocol("context60"), Background())


def test_a_policy_needs_label_maps_with_background() -> None:
    with pytest.raises(ValueError, match="label set 'mini24' has no raw id for background"):
        scored_split(protocol("mini-18-6"), Background(policy="threshold", threshold=0.1))
