"""The structural loss against windows written out, and in blocks of classes."""

import math

import pytest
import torch

from cascade_core.labels.label_set import IGNORE
from cascade_core.losses import ssim


def at_pixel(first: torch.Tensor, second: torch.Tensor, y: int, x: int) -> float:
    """Return the similarity in the window around a pixel, by sums over its 121 places; beyond the border are zeros."""
    reach = ssim.WINDOW // 2
    offsets = range(-reach, reach + 1)
    weights = [math.exp(-(o * o) / (2 * ssim.SIGMA**2)) for o in offsets]
    total = sum(weights)
    sums = dict.fromkeys(("a", "b", "aa", "bb", "ab"), 0.0)
    for dy, wy in zip(offsets, weights, strict=True):
        for dx, wx in zip(offsets, weights, strict=True):
            inside = 0 <= y + dy < first.shape[0] and 0 <= x + dx < first.shape[1]
            a, b = (float(map_[y + dy, x + dx]) if inside else 0.0 for map_ in (first, second))
            for name, value in (("a", a), ("b", b), ("aa", a * a), ("bb", b * b), ("ab", a * b)):
                sums[name] += wy * wx / total**2 * value
    a, b = sums["a"], sums["b"]
    luminance = (2 * a * b + ssim.C1) / (a * a + b * b + ssim.C1)
    return (
        luminance * (2 * (sums["ab"] - a * b) + ssim.C2) / (sums["aa"] - a * a + sums["bb"] - b * b + ssim.C2)
    )


def test_the_loss_is_one_less_the_mean_over_windows() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 2, 6, 7, dtype=torch.float32)
    labels = torch.randint(0, 2, (1, 6, 7))
    labels[0, 0, :3] = IGNORE
    values = [
        at_pixel(logits[0, own], (labels[0] == own).float(), y, x)
        for own in range(2)
        for y in range(6)
        for x in range(7)
    ]
    loss = ssim.ssim_loss(logits, labels, mask_size=(6, 7), ignored_as_negative=[True])
    assert loss.item() == pytest.approx(1 - sum(values) / len(values), abs=1e-5)


def test_ignored_pixels_can_be_left_out() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(1, 2, 4, 4), torch.full((1, 4, 4), IGNORE)
    labels[0, 2, 1] = 1
    values = [at_pixel(logits[0, own], (labels[0] == own).float(), 2, 1) for own in range(2)]
    loss = ssim.ssim_loss(logits, labels, mask_size=(4, 4), ignored_as_negative=[False])
    assert loss.item() == pytest.approx(1 - sum(values) / 2, abs=1e-5)


def test_the_mean_over_processes_is_the_loss_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 6, 6), torch.randint(0, 3, (2, 6, 6))
    labels[0, :4] = IGNORE
    whole = ssim.ssim_loss(logits, labels, mask_size=(6, 6), ignored_as_negative=[False] * 2)
    monkeypatch.setattr(ssim, "mean_over_processes", lambda _: (labels != IGNORE).sum() / 2)
    parts = [
        ssim.ssim_loss(logits[i : i + 1], labels[i : i + 1], mask_size=(6, 6), ignored_as_negative=[False])
        for i in range(2)
    ]
    torch.testing.assert_close(sum(parts) / 2, whole)


@pytest.mark.parametrize(("logit", "error"), [(10.0, 5e-3), (30.0, 2e-2)])
def test_single_precision_has_the_error_that_is_stated(logit: float, error: float) -> None:
    own = torch.zeros(1, 1, 32, 32)
    own[..., 8:24, 8:24] = 1
    logits = (2 * own - 1) * logit
    exact = ssim.ssim_map(logits.double(), own.double())
    assert (ssim.ssim_map(logits, own) - exact).abs().max() < error


def test_perfect_logits_have_no_loss() -> None:
    labels = torch.randint(0, 3, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    logits = torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).float()
    assert ssim.ssim_loss(
        logits, labels, mask_size=(8, 8), ignored_as_negative=[True, True]
    ).item() == pytest.approx(0, abs=1e-5)


def test_blocks_of_classes_change_neither_loss_nor_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    grid = torch.randn(2, 5, 4, 4, generator=generator)
    labels = torch.randint(0, 5, (2, 12, 12), generator=generator)
    results = []
    for elements in (1 << 24, 2 * 12 * 12 * 2):
        monkeypatch.setattr(ssim, "BLOCK_ELEMENTS", elements)
        logits = grid.clone().requires_grad_()
        loss = ssim.ssim_loss(logits, labels, mask_size=(12, 12), ignored_as_negative=[True, False])
        loss.backward()
        results.append((loss.detach(), logits.grad))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_windows_reach_from_one_tile_into_the_next() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 1, 3, 2 * ssim.TILE + 5, generator=generator)
    own = (torch.rand(logits.shape, generator=generator) < 0.5).float()
    values = ssim.ssim_map(logits, own)[0, 0]
    for x in (0, ssim.TILE - 1, ssim.TILE, ssim.TILE + 3, 2 * ssim.TILE - 2, 2 * ssim.TILE + 4):
        assert values[1, x].item() == pytest.approx(at_pixel(logits[0, 0], own[0, 0], 1, x), abs=1e-5)
