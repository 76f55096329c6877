"""SPT-SEG's decoder against loops over windows, heads and patches."""

import pytest
import torch

from cascade_core.model.two_frequency import WINDOW, FrequencyMixer, TwoFrequencyDecoder

WIDTH, HEADS = 16, 4
HEAD = WIDTH // HEADS


def attention(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return ((keys @ query) / len(query) ** 0.5).softmax(dim=0) @ values


def mixed_by_loops(mixer: FrequencyMixer, memory: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Mix one picture's patches, patch by patch."""
    height, width = grid
    down, across = (-(-side // WINDOW) * WINDOW for side in grid)
    padded = torch.zeros(down, across, WIDTH)
    padded[:height, :width] = memory.reshape(height, width, WIDTH)
    windows = {
        (row, column): padded[row : row + WINDOW, column : column + WINDOW].reshape(-1, WIDTH)
        for row in range(0, down, WINDOW)
        for column in range(0, across, WINDOW)
    }
    keys, values = mixer.low_kv(torch.stack([window.mean(dim=0) for window in windows.values()])).chunk(
        2, dim=-1
    )
    rows = []
    for y in range(height):
        for x in range(width):
            patch = padded[y, x]
            window = windows[y // WINDOW * WINDOW, x // WINDOW * WINDOW]
            query, key, value = mixer.high_qkv(window).chunk(3, dim=-1)
            high = attention(query[y % WINDOW * WINDOW + x % WINDOW], key, value)
            query = mixer.low_q(patch)
            heads = [slice(start, start + HEAD) for start in range(0, len(query), HEAD)]
            low = torch.cat([attention(query[head], keys[:, head], values[:, head]) for head in heads])
            rows.append(torch.cat([high, mixer.low_proj(low)]))
    return torch.stack(rows)


@pytest.mark.parametrize("grid", [(4, 4), (3, 5)])
def test_masks_are_those_of_loops_over_patches(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    decoder = TwoFrequencyDecoder(width=WIDTH, heads=HEADS, layers=2, feedforward=32, dropout=0.1).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    queries, memory = torch.randn(1, 3, WIDTH), torch.randn(1, grid[0] * grid[1], WIDTH)
    masks = decoder(queries, memory, grid)
    query = queries[0]
    for index, layer in enumerate(decoder.layers):
        mixed = mixed_by_loops(layer.mixer, memory[0], grid)
        gate = layer.gate
        shares = torch.stack([(row @ gate / (row.norm() * gate.norm())).clamp(0, 1) for row in mixed])
        patches = torch.stack(
            [share * row @ layer.transform for share, row in zip(shares, mixed, strict=True)]
        )
        scores = query @ patches.T
        if index == len(decoder.layers) - 1:
            break
        update = torch.stack([layer.proj(row.softmax(dim=0) @ patches) for row in scores])
        query = layer.norm2(query + update)
        query = layer.norm3(query + layer.linear2(layer.linear1(query).relu()))
    torch.testing.assert_close(masks[0], scores, rtol=1e-4, atol=1e-4)


def test_the_last_layer_has_weights_without_gradient() -> None:
    torch.manual_seed(0)
    decoder = TwoFrequencyDecoder(width=WIDTH, heads=HEADS, layers=2, feedforward=32, dropout=0.0)
    decoder(torch.randn(1, 3, WIDTH), torch.randn(1, 9, WIDTH), (3, 3)).square().sum().backward()
    without = {name for name, parameter in decoder.named_parameters() if parameter.grad is None}
    assert without == set(decoder.names_without_gradient()) and without
