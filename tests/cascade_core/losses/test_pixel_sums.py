"""Values and gradients of the blockwise loss against the published one on whole upsampled logits."""

import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cascade_core.configs.config import LossConfig
from cascade_core.losses import blocks
from cascade_core.losses import pixel_sums as backends
from cascade_core.losses.blocks import FocalConstants, Totals
from cascade_core.losses.focal_dice import segmentation_loss
from cascade_core.losses.pixel_sums import pixel_sums
from cascade_core.runtime import c_compiler as compiler

from .upsampled_whole import CONFIGS, case, upsampled_whole

lengths = st.integers(1, 7)
sizes = st.tuples(st.integers(1, 23), st.integers(1, 23))


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make blocks so small that even small pictures need several."""
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 64)


PRECISE = {
    torch.float64: {},
    torch.float32: {"rtol": 1e-4, "atol": 1e-5},
    # Only the gradient is bfloat16, with a rounded last digit.
    torch.bfloat16: {"rtol": 0.01, "atol": 1e-5},
}


@settings(max_examples=60, deadline=None)
@given(
    grid=st.tuples(lengths, lengths),
    mask_size=sizes,
    size=sizes,
    in_one_step=st.booleans(),
    classes=st.integers(1, 6),
    config=st.sampled_from(CONFIGS),
    dtype=st.sampled_from(list(PRECISE)),
    seed=st.integers(0, 10**6),
)
def test_blocks_give_the_published_loss_and_gradient(
    grid: tuple[int, int],
    mask_size: tuple[int, int],
    size: tuple[int, int],
    in_one_step: bool,
    classes: int,
    config: LossConfig,
    dtype: torch.dtype,
    seed: int,
) -> None:
    random_logits, labels = case(grid, size, classes=classes, seed=seed)
    mask_size = size if in_one_step else mask_size
    logits = random_logits.detach().to(dtype).requires_grad_()
    exact = logits.detach().double().requires_grad_()
    ours = segmentation_loss(logits, labels, config, mask_size=mask_size)
    published = upsampled_whole(exact, labels, config, mask_size=mask_size)
    summed_in = torch.promote_types(dtype, torch.float32)
    for name, term in published.items():
        torch.testing.assert_close(ours.terms[name], term.to(summed_in), **PRECISE[summed_in])
    gradient, expected = (
        torch.autograd.grad(total, of)[0]
        for total, of in ((ours.total, logits), (sum(published.values()), exact))
    )
    torch.testing.assert_close(gradient, expected.to(dtype), **PRECISE[dtype])


@pytest.mark.parametrize("ignored_as_negative", [True, False])
def test_the_gradient_is_that_of_finite_differences(ignored_as_negative: bool) -> None:
    logits, labels = case((2, 3), (5, 7), classes=3, seed=0)
    constants = FocalConstants(alpha=0.25, gamma=2.0, ignored_as_negative=ignored_as_negative)

    def sums(logits: Tensor) -> tuple[Tensor, ...]:
        return pixel_sums(logits, labels, constants, mask_size=(5, 7))[:3]

    assert torch.autograd.gradcheck(sums, (logits,))


def test_gradient_maps_are_computed_only_if_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def recorded(*args: Any, with_maps: bool) -> Totals:
        calls.append(with_maps)
        return blocks.blocked_sums(*args, with_maps=with_maps)

    monkeypatch.setattr(backends, "blocked_sums", recorded)
    logits, labels = case((3, 3), (9, 9), classes=4, seed=2)
    assert logits.requires_grad
    of_gradient = segmentation_loss(logits, labels, LossConfig(), mask_size=(9, 9)).total
    of_constant = segmentation_loss(logits.detach(), labels, LossConfig(), mask_size=(9, 9)).total
    with torch.no_grad():
        of_leaf = segmentation_loss(logits, labels, LossConfig(), mask_size=(9, 9)).total
    assert calls == [True, False, False]
    assert of_constant.grad_fn is None and of_leaf.grad_fn is None
    assert torch.equal(of_constant, of_gradient) and torch.equal(of_leaf, of_gradient)


def test_under_autocast_the_sums_stay_in_single_precision() -> None:
    random_logits, labels = case((3, 3), (9, 9), classes=4, seed=2)
    logits = random_logits.detach().float().requires_grad_()
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            total = segmentation_loss(logits, labels, LossConfig(), mask_size=(9, 9)).total
        results.append((total, *torch.autograd.grad(total, logits)))
    for plain, mixed in zip(*results, strict=True):
        assert mixed.dtype == torch.float32
        assert torch.equal(mixed, plain)


@pytest.mark.parametrize("stray", [-1, 2, 200])
def test_ids_beyond_the_classes_are_refused(stray: int) -> None:
    logits, labels = case((2, 2), (4, 4), classes=2, seed=4)
    labels[1, 2, 3] = stray
    with pytest.raises(RuntimeError, match="out of bounds"):
        segmentation_loss(logits, labels, LossConfig(), mask_size=(4, 4))


def test_on_a_cpu_no_triton_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "cascade_core.losses.triton_kernels", raising=False)
    logits, labels = case((2, 2), (4, 4), classes=2, seed=4)
    assert segmentation_loss(logits.float(), labels, LossConfig(), mask_size=(4, 4)).total.isfinite()


class OnAGpu(Tensor):
    """A CPU tensor that claims to be on a GPU."""

    is_cuda = True


def _kernel_applies(dtype: torch.dtype, *, in_one_step: bool = True) -> bool:
    return backends._kernel_applies(torch.zeros(1, dtype=dtype).as_subclass(OnAGpu), in_one_step=in_one_step)


def test_the_kernel_is_used_on_gpus_in_single_and_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "_triton_works", lambda: True)
    assert _kernel_applies(torch.float32) and _kernel_applies(torch.bfloat16)
    assert not _kernel_applies(torch.float64)
    assert not _kernel_applies(torch.float32, in_one_step=False)
    assert not backends._kernel_applies(torch.zeros(1), in_one_step=True)


def test_a_gpu_without_a_compiler_uses_blocks_and_logs_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backends, "_triton_works", backends._triton_works.__wrapped__)
    monkeypatch.setattr(compiler, "missing_for_triton", lambda: "a C compiler")
    assert not _kernel_applies(torch.float32)
    assert "needs a C compiler" in caplog.text
    monkeypatch.setattr(compiler, "missing_for_triton", lambda: None)
    assert _kernel_applies(torch.float32)
