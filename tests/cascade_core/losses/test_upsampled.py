"""The loss in blocks against the loss of logits that were upsampled whole, values and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks import plain
from cascade_core.config import LossConfig
from cascade_core.labelsets import IGNORE
from cascade_core.losses import upsampled as blocks
from cascade_core.losses.focal_dice import (
    LossParts,
    blocked_focal_dice_loss,
    focal_dice_loss,
    segmentation_loss,
    upsampled,
)
from cascade_core.losses.upsampled import upsampled_sums

CONFIGS = (
    LossConfig(),
    LossConfig(ignored_as_negative=False),
    LossConfig(focal_weight=3, dice_weight=0.5, focal_alpha=0.6, focal_gamma=1.5),
)
lengths = st.integers(1, 7)


def _whole(grid_logits: Tensor, labels: Tensor, config: LossConfig) -> LossParts:
    size = (labels.shape[-2], labels.shape[-1])
    return focal_dice_loss(upsampled(grid_logits, size, size), labels, config)


def _case(grid: tuple[int, int], size: tuple[int, int], *, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw logits, and labels of which some are ignored, some classes absent and the last picture empty."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(3, classes, *grid, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes + 1, (3, *size), generator=generator)
    labels[labels == classes] = IGNORE
    labels[2] = IGNORE
    return logits.requires_grad_(), labels


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make blocks of few rows and classes, so that small pictures fall into several."""
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 64)


@settings(max_examples=40, deadline=None)
@given(
    grid=st.tuples(lengths, lengths),
    size=st.tuples(st.integers(1, 23), st.integers(1, 23)),
    classes=st.integers(1, 6),
    config=st.sampled_from(CONFIGS),
    seed=st.integers(0, 10**6),
)
def test_blocks_give_the_loss_and_gradient_of_the_whole(
    grid: tuple[int, int], size: tuple[int, int], classes: int, config: LossConfig, seed: int
) -> None:
    logits, labels = _case(grid, size, classes=classes, seed=seed)
    ours, theirs = (loss(logits, labels, config) for loss in (blocked_focal_dice_loss, _whole))
    for name, term in theirs.terms.items():
        torch.testing.assert_close(ours.terms[name], term)
    gradients = [torch.autograd.grad(parts.total, logits)[0] for parts in (ours, theirs)]
    torch.testing.assert_close(*gradients)


@settings(max_examples=20, deadline=None)
@given(
    grid=st.tuples(lengths, lengths),
    config=st.sampled_from([CONFIGS[0], CONFIGS[2]]),
    seed=st.integers(0, 99),
)
def test_blocks_give_the_published_loss(grid: tuple[int, int], config: LossConfig, seed: int) -> None:
    logits, labels = _case(grid, (13, 11), classes=4, seed=seed)
    published = plain.loss(logits, labels, config)
    for name, term in blocked_focal_dice_loss(logits, labels, config).terms.items():
        torch.testing.assert_close(term, published[name])


@pytest.mark.parametrize("ignored_as_negative", [True, False])
def test_the_gradient_is_that_of_finite_differences(ignored_as_negative: bool) -> None:
    logits, labels = _case((2, 3), (5, 7), classes=3, seed=0)

    def sums(logits: Tensor) -> tuple[Tensor, ...]:
        found = upsampled_sums(logits, labels, alpha=0.25, gamma=2.0, ignored_as_negative=ignored_as_negative)
        return found.focal, found.probability, found.overlap

    assert torch.autograd.gradcheck(sums, (logits,))


def test_logits_in_half_precision_are_summed_in_single_and_get_their_gradient_back() -> None:
    logits, labels = _case((3, 3), (9, 9), classes=4, seed=1)
    half = logits.detach().bfloat16().requires_grad_()
    parts = blocked_focal_dice_loss(half, labels, LossConfig())
    expected = _whole(half.detach().float(), labels, LossConfig())
    assert parts.total.dtype == torch.float32
    torch.testing.assert_close(parts.total, expected.total)
    parts.total.backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16


def test_without_a_gradient_to_give_no_maps_are_kept() -> None:
    logits, labels = _case((3, 3), (9, 9), classes=4, seed=2)
    with torch.no_grad():
        parts = blocked_focal_dice_loss(logits, labels, LossConfig())
    assert parts.total.grad_fn is None
    torch.testing.assert_close(parts.total, _whole(logits.detach(), labels, LossConfig()).total)


def test_what_is_large_goes_through_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = _case((3, 3), (9, 9), classes=4, seed=3)
    called = []
    original = blocked_focal_dice_loss
    monkeypatch.setattr(
        "cascade_core.losses.focal_dice.blocked_focal_dice_loss",
        lambda *arguments: called.append(len(arguments)) or original(*arguments),
    )
    size = (9, 9)
    elements = 3 * 4 * 9 * 9
    totals = [
        segmentation_loss(logits, labels, LossConfig(), mask_size=size, small=small).total
        for small in (elements, elements - 1)
    ]
    assert len(called) == 1
    torch.testing.assert_close(*totals)
