"""The loss, which never upsamples whole, against the published one, which does: values and gradients."""

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cascade_core.config import LossConfig
from cascade_core.losses import blocks
from cascade_core.losses.focal_dice import segmentation_loss
from cascade_core.losses.sums import FocalConstants
from cascade_core.losses.upsampled import upsampled_sums

from .upsampled_whole import CONFIGS, case, upsampled_whole

lengths = st.integers(1, 7)
sizes = st.tuples(st.integers(1, 23), st.integers(1, 23))


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make blocks of few rows and classes, so that small pictures fall into several."""
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 64)


@settings(max_examples=40, deadline=None)
@given(
    grid=st.tuples(lengths, lengths),
    mask_size=sizes,
    size=sizes,
    in_one_step=st.booleans(),
    classes=st.integers(1, 6),
    config=st.sampled_from(CONFIGS),
    seed=st.integers(0, 10**6),
)
def test_blocks_give_the_published_loss_and_gradient(
    grid: tuple[int, int],
    mask_size: tuple[int, int],
    size: tuple[int, int],
    in_one_step: bool,
    classes: int,
    config: LossConfig,
    seed: int,
) -> None:
    logits, labels = case(grid, size, classes=classes, seed=seed)
    mask_size = size if in_one_step else mask_size
    ours = segmentation_loss(logits, labels, config, mask_size=mask_size)
    published = upsampled_whole(logits, labels, config, mask_size=mask_size)
    for name, term in published.items():
        torch.testing.assert_close(ours.terms[name], term)
    gradients = [torch.autograd.grad(total, logits)[0] for total in (ours.total, sum(published.values()))]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("ignored_as_negative", [True, False])
def test_the_gradient_is_that_of_finite_differences(ignored_as_negative: bool) -> None:
    logits, labels = case((2, 3), (5, 7), classes=3, seed=0)
    constants = FocalConstants(alpha=0.25, gamma=2.0, ignored_as_negative=ignored_as_negative)

    def sums(logits: Tensor) -> tuple[Tensor, ...]:
        return upsampled_sums(logits, labels, constants, mask_size=(5, 7))[:3]

    assert torch.autograd.gradcheck(sums, (logits,))


def test_logits_in_half_precision_are_summed_in_single_and_get_their_gradient_back() -> None:
    logits, labels = case((3, 3), (9, 9), classes=4, seed=1)
    half = logits.detach().bfloat16().requires_grad_()
    single = half.detach().float().requires_grad_()
    ours = segmentation_loss(half, labels, LossConfig(), mask_size=(9, 9)).total
    published = sum(upsampled_whole(single, labels, LossConfig(), mask_size=(9, 9)).values())
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, published)
    gradients = [torch.autograd.grad(total, of)[0] for total, of in ((ours, half), (published, single))]
    torch.testing.assert_close(gradients[0], gradients[1].bfloat16())


def test_without_a_gradient_to_give_no_maps_are_kept() -> None:
    logits, labels = case((3, 3), (9, 9), classes=4, seed=2)
    with_gradient = segmentation_loss(logits, labels, LossConfig(), mask_size=(9, 9)).total
    with torch.no_grad():
        without = segmentation_loss(logits, labels, LossConfig(), mask_size=(9, 9)).total
    assert without.grad_fn is None
    assert torch.equal(without, with_gradient)


def test_on_a_cpu_no_triton_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "cascade_core.losses.triton_kernels", raising=False)
    logits, labels = case((2, 2), (4, 4), classes=2, seed=4)
    assert segmentation_loss(logits.float(), labels, LossConfig(), mask_size=(4, 4)).total.isfinite()
