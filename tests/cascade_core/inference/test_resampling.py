"""Resizing as matrices against torch's, and what the readings of windows add up to."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_core.inference.resampling import Side, bilinear, readings, windows_read
from cascade_core.inference.sliding import window_origins

LENGTH = st.integers(1, 60)


@settings(deadline=None, max_examples=50)
@given(LENGTH, LENGTH, st.data())
def test_a_stretch_is_resized_as_torch_resizes_it_within_the_whole(
    target: int, source: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, target - 1))
    last = data.draw(st.integers(first + 1, target))
    values = torch.rand(source, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    read, matrix = bilinear(first, last, target=target, source=source)
    expected = F.interpolate(values[None, None], size=target, mode="linear", align_corners=False)
    torch.testing.assert_close(matrix @ values[read], expected[0, 0, first:last])


Drawn = tuple[int, int, int, int, int, bool]
SIDES = st.tuples(LENGTH, st.integers(1, 90), st.integers(1, 40), LENGTH, st.integers(1, 8), st.booleans())
STRIDE = st.integers(1, 40)


def side_of(drawn: Drawn, stride: int) -> Side:
    target, seen, crop, mask, grid, mirrored = drawn
    origins = tuple(window_origins(seen, crop, min(stride, crop)))
    return Side(target, seen, min(seen, crop), mask, grid, origins, mirrored)


def read(side: Side, first: int, last: int) -> dict[int, torch.Tensor]:
    """Give by window what a stretch reads of its whole mask."""
    found = {}
    for one in readings(side, first, last, dtype=torch.float64, device=torch.device("cpu")):
        found[one.window] = torch.zeros(last - first, side.mask, dtype=torch.float64)
        found[one.window][:, one.places] = torch.eye(last - first) if one.down is None else one.down
    return found


@settings(deadline=None, max_examples=30)
@given(SIDES, STRIDE, st.data())
def test_every_position_reads_windows_with_shares_that_sum_up_to_one(
    drawn: Drawn, stride: int, data: st.DataObject
) -> None:
    side = side_of(drawn, stride)
    first = data.draw(st.integers(0, side.target - 1))
    last = data.draw(st.integers(first + 1, side.target))
    found = read(side, first, last)
    assert list(found) == list(windows_read(side, first, last))
    torch.testing.assert_close(
        sum(part.sum(dim=1) for part in found.values()), torch.ones(last - first, dtype=torch.float64)
    )
    assert all((part >= 0).all() for part in found.values())


@settings(deadline=None, max_examples=30)
@given(SIDES, STRIDE, st.integers(1, 20))
def test_stretches_read_what_the_whole_side_reads(drawn: Drawn, stride: int, step: int) -> None:
    side = side_of(drawn, stride)
    whole = read(side, 0, side.target)
    for first in range(0, side.target, step):
        last = min(first + step, side.target)
        for window, part in read(side, first, last).items():
            torch.testing.assert_close(part, whole[window][first:last])


@settings(deadline=None, max_examples=30)
@given(SIDES, STRIDE)
def test_up_matrices_are_torchs_upsampling_of_the_grid(drawn: Drawn, stride: int) -> None:
    side = side_of(drawn, stride)
    logits = torch.rand(side.grid, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = F.interpolate(logits[None, None], size=side.mask, mode="linear", align_corners=False)[0, 0]
    for one in readings(side, 0, side.target, dtype=torch.float64, device=torch.device("cpu")):
        torch.testing.assert_close(one.up @ logits[one.cells], expected[one.places])


def test_on_a_gpu_fewer_readings_are_kept_since_they_are_larger() -> None:
    side, kind = Side(600, 600, 600, 600, 40, (0,)), {"dtype": torch.float32, "device": torch.device("meta")}
    first = readings(side, 0, 1, **kind)
    assert readings(side, 0, 1, **kind) is first
    for position in range(1, 300):
        readings(side, position, position + 1, **kind)
    assert readings(side, 0, 1, **kind) is not first
