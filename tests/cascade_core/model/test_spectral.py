"""The spectral prompt against Fourier sums written out, and its filter on other grids."""

import cmath
import math

import pytest
import torch

from cascade_core.model.spectral import SpectralPrompt

WIDTH = 2


def written_out(patches: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Filter a real map of one channel by sums over all places: forward, product, and the real inverse."""
    height, width = patches.shape
    spectrum = {
        (k, across): sum(
            patches[m, n].item() * cmath.exp(-2j * math.pi * (k * m / height + across * n / width))
            for m in range(height)
            for n in range(width)
        )
        * complex(*kernel[k, across].tolist())
        for k in range(height)
        for across in range(width // 2 + 1)
    }
    result = torch.zeros(height, width, dtype=torch.float64)
    for m in range(height):
        rows = [
            sum(spectrum[k, across] * cmath.exp(2j * math.pi * k * m / height) for k in range(height))
            for across in range(width // 2 + 1)
        ]
        for n in range(width):
            # A frequency and its mirror image are conjugates; only the zeroth and the middle one have no partner.
            weights = [1 if across in (0, width / 2) else 2 for across in range(width // 2 + 1)]
            terms = (
                w * (row * cmath.exp(2j * math.pi * across * n / width)).real
                for across, (w, row) in enumerate(zip(weights, rows, strict=True))
            )
            result[m, n] = sum(terms) / (height * width)
    return result


@pytest.mark.parametrize("grid", [(4, 4), (3, 5)])
def test_the_filter_is_the_sum_over_frequencies(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    prompt = SpectralPrompt(side=4, width=WIDTH)
    tokens = torch.randn(1, 1 + grid[0] * grid[1], WIDTH)
    filtered = prompt(tokens, grid)
    assert torch.equal(filtered[:, 0], tokens[:, 0])
    kernel = prompt.at(grid).detach()
    for channel in range(WIDTH):
        patches = tokens[0, 1:, channel].reshape(grid)
        expected = patches + written_out(patches * tokens[0, 0, channel], kernel[:, :, channel])
        torch.testing.assert_close(
            filtered[0, 1:, channel].reshape(grid).double(), expected, rtol=1e-5, atol=1e-5
        )


def test_frequencies_that_two_grids_share_have_one_value() -> None:
    torch.manual_seed(0)
    prompt = SpectralPrompt(side=4, width=WIDTH)
    assert prompt.at((4, 4)) is prompt.filter
    twice = prompt.at((8, 8))
    assert twice.shape == (8, 5, WIDTH, 2)
    torch.testing.assert_close(twice[::2, ::2], prompt.filter)
    halves = (prompt.filter[0] + prompt.filter[1]) / 2
    torch.testing.assert_close(twice[1, ::2], halves)
    wrapped = (prompt.filter[3] + prompt.filter[0]) / 2
    torch.testing.assert_close(twice[7, ::2], wrapped)


def test_gradients_reach_the_filter() -> None:
    torch.manual_seed(0)
    prompt = SpectralPrompt(side=3, width=WIDTH)
    prompt(torch.randn(2, 10, WIDTH), (3, 3)).square().sum().backward()
    assert prompt.filter.grad is not None and prompt.filter.grad.abs().sum() > 0
