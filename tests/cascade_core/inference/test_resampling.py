"""Where windows lie, and resizing by matrices against torch's own."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_core.inference.resampling import Side, bilinear, window_matrices, window_origins, windows_at

LENGTHS = st.tuples(st.integers(1, 200), st.integers(1, 60), st.integers(1, 60)).filter(
    lambda s: s[2] <= s[1]
)


@settings(deadline=None)
@given(LENGTHS)
def test_windows_cover_every_position_and_stay_inside(sizes: tuple[int, int, int]) -> None:
    length, crop, stride = sizes
    origins = window_origins(length, crop, stride)
    covered = {position for origin in origins for position in range(origin, min(origin + crop, length))}
    assert covered == set(range(length))
    assert all(0 <= origin <= max(length - crop, 0) for origin in origins)
    assert len(origins) == math.ceil(max(length - crop, 0) / stride) + 1


@pytest.mark.parametrize(
    ("length", "origins"),
    [(512, [0]), (300, [0]), (513, [0, 1]), (938, [0, 426]), (939, [0, 426, 427]), (683, [0, 171])],
)
def test_the_published_windows_start_where_they_should(length: int, origins: list[int]) -> None:
    assert list(window_origins(length, 512, 426)) == origins


def test_impossible_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="stride=9: all must be positive and stride at most crop"):
        window_origins(8, 8, 9)
    with pytest.raises(ValueError, match="all must be positive"):
        window_origins(8, 8, 0)


LENGTH = st.integers(1, 60)


@settings(deadline=None, max_examples=50)
@given(LENGTH, LENGTH, st.data())
def test_a_stretch_is_resized_like_the_whole_side_by_torch(
    target: int, source: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, target - 1))
    last = data.draw(st.integers(first + 1, target))
    values = torch.rand(source, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    read, matrix = bilinear(first, last, target=target, source=source)
    expected = F.interpolate(values[None, None], size=target, mode="linear", align_corners=False)
    torch.testing.assert_close(matrix @ values[read], expected[0, 0, first:last])


SideSizes = tuple[int, int, int, int, int, bool]
SIDES = st.tuples(LENGTH, st.integers(1, 90), st.integers(1, 40), LENGTH, st.integers(1, 8), st.booleans())
STRIDE = st.integers(1, 40)


def side_of(sizes: SideSizes, stride: int) -> Side:
    target, seen, crop, mask, grid, mirrored = sizes
    origins = tuple(window_origins(seen, crop, min(stride, crop)))
    return Side(target, seen, min(seen, crop), mask, grid, origins, mirrored)


def mask_weights(side: Side, first: int, last: int) -> dict[int, torch.Tensor]:
    """Return, by window, the matrix from its whole mask to a stretch."""
    weights = {}
    for part in window_matrices(side, first, last, dtype=torch.float64, device=torch.device("cpu")):
        matrix = torch.eye(last - first) if part.to_target is None else part.to_target
        weights[part.window] = torch.zeros(last - first, side.mask, dtype=torch.float64)
        weights[part.window][:, part.positions] = matrix
    return weights


@settings(deadline=None, max_examples=30)
@given(SIDES, STRIDE, st.data())
def test_the_weights_of_all_windows_sum_to_one_at_every_position(
    sizes: SideSizes, stride: int, data: st.DataObject
) -> None:
    side = side_of(sizes, stride)
    first = data.draw(st.integers(0, side.target - 1))
    last = data.draw(st.integers(first + 1, side.target))
    weights = mask_weights(side, first, last)
    assert list(weights) == list(windows_at(side, first, last))
    torch.testing.assert_close(
        sum(part.sum(dim=1) for part in weights.values()), torch.ones(last - first, dtype=torch.float64)
    )
    assert all((part >= 0).all() for part in weights.values())


@settings(deadline=None, max_examples=30)
@given(SIDES, STRIDE, st.integers(1, 20))
def test_a_stretch_has_the_weights_of_the_whole_side(sizes: SideSizes, stride: int, step: int) -> None:
    side = side_of(sizes, stride)
    whole = mask_weights(side, 0, side.target)
    for first in range(0, side.target, step):
        last = min(first + step, side.target)
        for window, part in mask_weights(side, first, last).items():
            torch.testing.assert_close(part, whole[window][first:last])


@settings(deadline=None, max_examples=30)
@given(SIDES, STRIDE)
def test_mask_matrices_upsample_the_grid_like_torch(sizes: SideSizes, stride: int) -> None:
    side = side_of(sizes, stride)
    logits = torch.rand(side.grid, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = F.interpolate(logits[None, None], size=side.mask, mode="linear", align_corners=False)[0, 0]
    for part in window_matrices(side, 0, side.target, dtype=torch.float64, device=torch.device("cpu")):
        torch.testing.assert_close(part.to_mask @ logits[part.cells], expected[part.positions])


def test_fewer_matrices_are_cached_for_a_gpu() -> None:
    side, kind = Side(600, 600, 600, 600, 40, (0,)), {"dtype": torch.float32, "device": torch.device("meta")}
    first = window_matrices(side, 0, 1, **kind)
    assert window_matrices(side, 0, 1, **kind) is first
    for position in range(1, 300):
        window_matrices(side, position, position + 1, **kind)
    assert window_matrices(side, 0, 1, **kind) is not first
