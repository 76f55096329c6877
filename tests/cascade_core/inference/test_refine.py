"""Refinement along the picture's edges, against a definition in loops."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cascade_core.inference import refine as module
from cascade_core.inference.label_maps import label_maps
from cascade_core.inference.labelling import best_classes
from cascade_core.inference.refine import DILATIONS, STEPS, likeness, refine
from cascade_core.inference.strips import Limits
from tests.cascade_core.inference.test_labelling import SLIDE, TIGHT, WHOLE, noise, view_batch, vocabulary
from tests.score_maps import score_maps

PAMR = {"refine": "pamr"}


def _near(height: int, width: int, y: int, x: int) -> list[tuple[int, int]]:
    """The neighbours of a pixel, in the order of the weights; outside of the picture the border repeats."""
    return [
        (min(max(y + down * distance, 0), height - 1), min(max(x + right * distance, 0), width - 1))
        for distance in DILATIONS
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
        if (down, right) != (0, 0)
    ]


def _slow_weights(image: Tensor) -> Tensor:
    _, height, width = image.shape
    weights = torch.empty(8 * len(DILATIONS), height, width)
    for y in range(height):
        for x in range(width):
            colours = torch.stack([image[:, a, b] for a, b in _near(height, width, y, x)])
            own = image[:, y, x].expand(len(DILATIONS), 3)
            deviation = torch.cat([colours, own]).std(dim=0)
            scores = -((colours - image[:, y, x]).abs() / (1e-8 + 0.1 * deviation)).mean(dim=1)
            weights[:, y, x] = scores.softmax(dim=0)
    return weights


def test_the_weights_follow_the_definition_and_sum_to_one() -> None:
    image = torch.randn(3, 11, 13, generator=torch.Generator().manual_seed(0))
    weights = likeness(image)
    torch.testing.assert_close(weights, _slow_weights(image), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(11, 13))
    scaled = image * torch.tensor([58.0, 57.0, 2.0])[:, None, None] + 100
    torch.testing.assert_close(likeness(scaled), weights, atol=1e-3, rtol=1e-2)


def test_every_step_averages_the_neighbours_scores() -> None:
    image, scores = torch.randn(3, 9, 10), torch.rand(9, 10)
    weights = likeness(image)
    expected = scores
    for _ in range(STEPS):
        rows = [
            [
                sum(weights[k, y, x] * expected[near] for k, near in enumerate(_near(9, 10, y, x)))
                for x in range(10)
            ]
            for y in range(9)
        ]
        expected = torch.tensor(rows)
    torch.testing.assert_close(refine(scores, weights), expected, atol=1e-5, rtol=1e-4)


def test_an_edge_of_the_scores_moves_to_the_picture_s_edge() -> None:
    image = torch.zeros(3, 64, 64)
    image[:, :, 32:] = 1
    left = torch.zeros(64, 64)
    left[:, :28] = 1  # four columns short of the edge
    assert (refine(left, likeness(image))[:, 20:32] > 0.5).all()


@pytest.mark.parametrize("average", ["probabilities", "logits"])
@pytest.mark.parametrize("score_function", ["sigmoid", "softmax"])
def test_chunks_and_strips_change_no_refined_score(average: str, score_function: str) -> None:
    model, images = vocabulary(score_function, sharp=3.0), noise(2, 40, 56)
    evaluate = SLIDE.model_copy(update={**PAMR, "average": average})
    roomy, tight = (
        best_classes(model, [view_batch(images)], size=(50, 61), evaluate=evaluate, limits=limits)
        for limits in (None, TIGHT)
    )
    torch.testing.assert_close(roomy[1], tight[1], atol=4e-5, rtol=0)
    assert (roomy[0] != tight[0]).float().mean() < 0.002


def test_refining_changes_labels_only_among_those_present() -> None:
    model, images = vocabulary(sharp=3.0), noise(1, 40, 56)
    plain = label_maps(model, images, evaluate=WHOLE, size=(40, 56))
    changed = label_maps(model, images, evaluate=WHOLE.model_copy(update=PAMR), size=(40, 56))
    assert not torch.equal(plain, changed)
    assert set(changed.unique().tolist()) <= set(plain.unique().tolist())


@pytest.mark.parametrize("limits", [None, TIGHT], ids=["roomy", "tight"])
def test_the_maximum_over_synonyms_is_refined(limits: Limits | None) -> None:
    model, images = replace(vocabulary(sharp=3.0), seen=()), noise(1, 40, 56)
    model = replace(model, query_classes=[0, 0, 0, 1, 1, 1, 1])
    maps = score_maps(model, images, evaluate=WHOLE, size=(40, 56))[0]
    weights = likeness(images[0])
    expected = torch.stack([refine(maps[own].amax(dim=0), weights) for own in ([0, 1, 2], [3, 4, 5, 6])])
    evaluate = WHOLE.model_copy(update=PAMR)
    labels, values = best_classes(
        model, [view_batch(images)], size=(40, 56), evaluate=evaluate, limits=limits
    )
    torch.testing.assert_close(values[0], expected.amax(dim=0), atol=4e-5, rtol=0)
    assert (labels[0] != expected.argmax(dim=0)).float().mean() < 0.002 and len(labels.unique()) == 2


def test_too_many_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_NUMBERS", 100)
    evaluate = WHOLE.model_copy(update=PAMR)
    with pytest.raises(
        ValueError, match=r"refining \d classes of a picture of 56 x 40 pixels needs too much"
    ):
        label_maps(vocabulary(), noise(1, 40, 56), evaluate=evaluate, size=(40, 56))
