"""The distance from a teacher's map against sums written out."""

import math

import pytest
import torch
from torch import Tensor

from cascade_core.losses.distillation import distillation_loss

PATCH = 4


def softmax_at(logits: Tensor, picture: int, y: int, x: int) -> list[float]:
    exponentials = [math.exp(float(value)) for value in logits[picture, :, y, x]]
    return [value / sum(exponentials) for value in exponentials]


def patch_is_padding(padding: Tensor, picture: int, y: int, x: int) -> bool:
    pixels = [(PATCH * y + row, PATCH * x + column) for row in range(PATCH) for column in range(PATCH)]
    return all(bool(padding[picture, row, column]) for row, column in pixels)


def maps() -> tuple[Tensor, Tensor, Tensor]:
    """Two pictures of 3 x 2 patches; the second has a patch and a half of padding in each of its lower rows."""
    generator = torch.Generator().manual_seed(0)
    logits, taught = (3 * torch.randn(2, 5, 3, 2, generator=generator) for _ in range(2))
    padding = torch.zeros(2, 3 * PATCH, 2 * PATCH, dtype=torch.bool)
    padding[1, PATCH:, PATCH // 2 :] = True
    return logits, taught, padding


def test_the_loss_is_the_mean_divergence_over_patches() -> None:
    logits, taught, padding = maps()
    places = [(picture, y, x) for picture in range(2) for y in range(3) for x in range(2)]
    divergences = [
        sum(
            goal * math.log(goal / own)
            for goal, own in zip(softmax_at(taught, *place), softmax_at(logits, *place), strict=True)
        )
        for place in places
        if not patch_is_padding(padding, *place)
    ]
    assert len(divergences) == 10
    loss = distillation_loss(logits, taught, padding, patch_size=PATCH)
    assert loss.item() == pytest.approx(sum(divergences) / len(divergences), rel=1e-5)


def test_maps_that_differ_by_a_constant_per_patch_are_equal() -> None:
    logits, _, padding = maps()
    shifted = logits + torch.randn(2, 1, 3, 2)
    loss = distillation_loss(shifted, logits, padding, patch_size=PATCH)
    assert loss.item() == pytest.approx(0, abs=1e-5)


def test_padding_alone_gives_no_loss_and_no_gradient() -> None:
    logits, taught, padding = maps()
    logits.requires_grad_()
    loss = distillation_loss(logits, taught, torch.ones_like(padding), patch_size=PATCH)
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and not logits.grad.any()
