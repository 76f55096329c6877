"""The losses against slow definitions in loops, and laws that they obey."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cascade_core.configs.config import LossConfig
from cascade_core.labels.label_views import IGNORE
from cascade_core.losses.focal_dice import LossParts, segmentation_loss


def _loss(mask_logits: Tensor, labels: Tensor, config: LossConfig) -> LossParts:
    return segmentation_loss(mask_logits, labels, config, mask_size=(labels.shape[-2], labels.shape[-1]))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _slow(mask_logits: Tensor, labels: Tensor, config: LossConfig) -> tuple[float, float]:
    """Compute focal and dice by definition, pixel by pixel."""
    batch, classes, height, width = mask_logits.shape
    focal_sum, dice_sum, pairs = 0.0, 0.0, 0
    for b in range(batch):
        for c in range(classes):
            focal, counted, overlap, mass, area = 0.0, 0, 0.0, 0.0, 0
            for y in range(height):
                for x in range(width):
                    label = int(labels[b, y, x])
                    if label == IGNORE and not config.ignored_as_negative:
                        continue
                    target = int(label == c)
                    p = _sigmoid(float(mask_logits[b, c, y, x]))
                    right = p if target else 1 - p
                    alpha = config.focal_alpha if target else 1 - config.focal_alpha
                    focal += -alpha * (1 - right) ** config.focal_gamma * math.log(right)
                    counted += 1
                    overlap += p * target
                    mass += p
                    area += target
            focal_sum += focal / max(counted, 1)
            if area:
                pairs += 1
                dice_sum += 1 - (2 * overlap + 1) / (mass + area + 1)
    pairs = max(pairs, 1)
    return config.focal_weight * focal_sum / pairs, config.dice_weight * dice_sum / pairs


def _random(seed: int, *, classes: int = 3, ignored: float = 0.3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask_logits = 2 * torch.randn(2, classes, 4, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (2, 4, 5), generator=generator)
    labels[torch.rand(2, 4, 5, generator=generator) < ignored] = IGNORE
    return mask_logits, labels


@pytest.mark.parametrize(
    "config",
    [
        LossConfig(),
        LossConfig(ignored_as_negative=False),
        LossConfig(focal_weight=3, dice_weight=0.5, focal_alpha=0.6, focal_gamma=1.5),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_focal_and_dice_equal_their_definition_in_loops(config: LossConfig, seed: int) -> None:
    mask_logits, labels = _random(seed)
    parts = _loss(mask_logits, labels, config)
    assert (parts.terms["focal"].item(), parts.terms["dice"].item()) == pytest.approx(
        _slow(mask_logits, labels, config)
    )
    assert parts.total.item() == pytest.approx(sum(_slow(mask_logits, labels, config)))


@pytest.mark.parametrize("ignored_as_negative", [True, False])
def test_a_batch_without_labels_has_a_focal_term_and_no_dice(ignored_as_negative: bool) -> None:
    mask_logits, labels = _random(0)
    labels.fill_(IGNORE)
    config = LossConfig(ignored_as_negative=ignored_as_negative)
    terms = _loss(mask_logits, labels, config).terms
    assert terms["dice"] == 0
    assert terms["focal"].item() == pytest.approx(_slow(mask_logits, labels, config)[0])
    assert (terms["focal"] > 0) == ignored_as_negative


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), negative=st.booleans())
def test_losses_do_not_change_when_classes_are_permuted(seed: int, negative: bool) -> None:
    mask_logits, labels = _random(seed, classes=4)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    # Channel k of the permuted logits is class order[k], so labels are looked up in the inverse.
    renumber = torch.full((256,), IGNORE)
    renumber[order] = torch.arange(4)
    config = LossConfig(ignored_as_negative=negative)
    first = _loss(mask_logits, labels, config)
    second = _loss(mask_logits[:, order], renumber[labels], config)
    torch.testing.assert_close(first.total, second.total)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_logits_at_ignored_pixels_matter_only_as_negatives(seed: int) -> None:
    mask_logits, labels = _random(seed, ignored=0.4)
    labels[0, 0, 0] = IGNORE
    changed = mask_logits + 3.0 * (labels == IGNORE)[:, None]
    left_out = LossConfig(ignored_as_negative=False)
    torch.testing.assert_close(
        _loss(mask_logits, labels, left_out).total, _loss(changed, labels, left_out).total
    )
    # Higher logits at target 0 raise the loss.
    published = LossConfig()
    assert _loss(changed, labels, published).total > _loss(mask_logits, labels, published).total


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_without_ignored_pixels_both_options_agree(seed: int) -> None:
    mask_logits, labels = _random(seed, ignored=0.0)
    first = _loss(mask_logits, labels, LossConfig())
    second = _loss(mask_logits, labels, LossConfig(ignored_as_negative=False))
    torch.testing.assert_close(first.total, second.total)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_dice_term_lies_between_zero_and_its_weight(seed: int) -> None:
    dice = _loss(*_random(seed), LossConfig(dice_weight=2)).terms["dice"]
    assert 0 <= dice <= 2


def test_sure_and_right_masks_cost_nothing() -> None:
    labels = torch.tensor([[[0, 1], [2, 0]]])
    mask_logits = 40.0 * (2 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float() - 1)
    assert _loss(mask_logits, labels, LossConfig()).total.item() == pytest.approx(0, abs=1e-6)


def test_logits_of_another_size_are_resized_to_the_labels() -> None:
    mask_logits, labels = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 9, 6))
    resized = torch.nn.functional.interpolate(mask_logits, size=(9, 6), mode="bilinear", align_corners=False)
    first, second = (
        segmentation_loss(logits, labels, LossConfig(), mask_size=logits.shape[-2:]).total
        for logits in (mask_logits, resized)
    )
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("seed", range(3))
def test_cross_entropy_is_the_mean_over_labelled_pixels(seed: int) -> None:
    mask_logits, labels = _random(seed)
    costs = [
        -mask_logits[b, :, y, x].log_softmax(dim=0)[labels[b, y, x]].item()
        for b, y, x in torch.cartesian_prod(torch.arange(2), torch.arange(4), torch.arange(5)).tolist()
        if labels[b, y, x] != IGNORE
    ]
    parts = segmentation_loss(mask_logits, labels, LossConfig(kind="cross_entropy"), mask_size=(4, 5))
    assert parts.terms.keys() == {"cross_entropy"}
    assert parts.total.item() == pytest.approx(sum(costs) / len(costs))


def test_cross_entropy_without_labels_is_zero_with_a_gradient() -> None:
    mask_logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    labels = torch.full((1, 2, 2), IGNORE)
    total = segmentation_loss(mask_logits, labels, LossConfig(kind="cross_entropy"), mask_size=(2, 2)).total
    total.backward()
    assert total == 0
    assert not mask_logits.grad.any()


def test_unsure_pixels_of_a_teacher_are_no_negatives() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 6, 6, requires_grad=True)
    labels = torch.randint(0, 4, (3, 6, 6))
    labels[:, :3] = IGNORE
    config = LossConfig(ignored_as_negative=True)
    size = (6, 6)
    mixed = segmentation_loss(logits, labels, config, mask_size=size, unannotated=(False, True, False))
    (gradient,) = torch.autograd.grad(mixed.total, logits)
    assert gradient[1, :, :3].abs().max() == 0
    assert all(gradient[place, :, :3].abs().min() > 0 for place in (0, 2))
    # The sums of both kinds, by their own definitions, over the pairs of the whole batch.
    present = [sum((part == c).any() for part in labels[i : i + 1] for c in range(4)) for i in range(3)]
    expected = {"focal": 0.0, "dice": 0.0}
    for place in range(3):
        rule = config.model_copy(update={"ignored_as_negative": place != 1})
        alone = _loss(logits[place : place + 1], labels[place : place + 1], rule)
        for name in expected:
            expected[name] += alone.terms[name].item() * int(present[place]) / int(sum(present))
    for name, value in expected.items():
        assert mixed.terms[name].item() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("by_teacher", [(), (False, True)])
@pytest.mark.parametrize("negative", [True, False])
def test_binary_cross_entropy_is_the_mean_over_all_pixels(
    negative: bool, by_teacher: tuple[bool, ...]
) -> None:
    logits, labels = _random(3)
    logits.requires_grad_()
    config = LossConfig(kind="binary_cross_entropy", ignored_as_negative=negative)
    parts = segmentation_loss(logits, labels, config, mask_size=(8, 10), unannotated=by_teacher)
    # To the masks' size, and from there to the labels'.
    resized = F.interpolate(logits, size=(8, 10), mode="bilinear", align_corners=False)
    resized = F.interpolate(resized, size=(4, 5), mode="bilinear", align_corners=False)
    targets = torch.stack([(labels == c).double() for c in range(3)], dim=1)
    counted = torch.stack(
        [(own != IGNORE) | (negative and not taught) for own, taught in _pairs(labels, by_teacher)]
    )
    each = F.binary_cross_entropy_with_logits(resized, targets, reduction="none")
    expected = (each * counted[:, None]).sum() / (counted.sum() * 3)
    torch.testing.assert_close(parts.terms["binary_cross_entropy"], expected)
    ours, theirs = (
        torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (parts.total, expected)
    )
    torch.testing.assert_close(ours, theirs)


def _pairs(labels: Tensor, by_teacher: tuple[bool, ...]) -> list[tuple[Tensor, bool]]:
    return list(zip(labels, by_teacher or (False,) * len(labels), strict=True))


def test_binary_cross_entropy_of_a_dropped_class_is_finite() -> None:
    logits = torch.full((1, 2, 2, 2), -100.0, requires_grad=True)
    loss = _loss(
        logits, torch.zeros(1, 2, 2, dtype=torch.long), LossConfig(kind="binary_cross_entropy")
    ).total
    loss.backward()
    assert loss.item() == pytest.approx(50) and logits.grad is not None and logits.grad.isfinite().all()
