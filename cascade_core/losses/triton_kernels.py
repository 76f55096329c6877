"""The sums of `blocks.py` as one GPU kernel; only `pixel_sums.py` imports it, because other machines lack Triton.

A program processes one picture, one class and a block of pixel columns, row by row from the top. It holds the two
grid rows above and below the pixel row (upsampled across), interpolates each pixel's logit, and adds the pixel's
terms to the sums and its slopes to the gradients of both grid rows. When a grid row is complete, the program resizes
its gradient back to the grid's columns and writes it once. No other program writes there, so results are
deterministic.
"""

from functools import lru_cache
from typing import NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from cascade_core.labels.label_set import IGNORE
from cascade_core.losses.blocks import FocalConstants, GridLogits, Labels, PixelSums, Totals
from cascade_core.losses.resize import resize_matrix

MOST_COLUMNS = 256
"""The most pixel columns of a program: two per thread with four warps, which leaves registers for the sums."""

GRID_COLUMNS_AT_ONCE = 4
"""The grid columns written together; with more, registers limit the number of programs on a GPU."""


def kernel_sums(logits: GridLogits, labels: Labels, constants: FocalConstants, *, with_maps: bool) -> Totals:
    """Return the sums over logits resized in one step to the labels' size, and with `with_maps` their gradients.

    All arithmetic is in single precision, for logits in half precision too.
    """
    batch, classes, grid_height, grid_width = logits.shape
    height, width = labels.shape[-2:]
    rows = _neighbours(grid_height, height, logits.device)
    columns = _neighbours(grid_width, width, logits.device)
    block = min(MOST_COLUMNS, triton.next_power_of_2(width))
    tiles = triton.cdiv(width, block)
    sums = logits.new_empty((4, tiles, batch, classes), dtype=torch.float32)
    # Zeros, because a program writes only the grid columns it touches, and the overlap of present classes.
    maps = logits.new_zeros((3, tiles, *logits.shape) if with_maps else (1,), dtype=torch.float32)
    # One extra entry for ignored pixels; any other id is out of bounds, as in `blocks.py`.
    present = logits.new_zeros((batch, classes + 1), dtype=torch.int8)
    own = (labels.long() + (labels >= classes)).masked_fill(labels == IGNORE, classes)
    present.scatter_(1, own.flatten(1), 1)
    # Triton launches on the current device, which may not be the tensors'.
    with torch.cuda.device_of(logits):
        _sum_up[(batch * classes, tiles)](
            logits.contiguous(),
            # The smallest type that Triton needs: every class reads all labels.
            labels.to(torch.int16).contiguous(),
            present[:, :classes].contiguous(),
            rows.begins,
            rows.weight,
            columns.first,
            columns.weight,
            sums,
            maps,
            classes,
            width,
            height,
            grid_width,
            grid_height,
            constants.alpha,
            gamma=constants.gamma,
            ignored=IGNORE,
            leave_out=not constants.ignored_as_negative,
            with_maps=with_maps,
            block=block,
            chunk=GRID_COLUMNS_AT_ONCE,
            enable_fp_fusion=True,
        )
    focal, probability, overlap, pixels = sums.sum(dim=1)
    gradients = list(maps.sum(dim=1)) if with_maps else []
    return PixelSums(focal.sum(dim=1), probability, overlap, pixels), gradients


class _Neighbours(NamedTuple):
    """The two grid cells that each pixel of an axis lies between.

    Attributes:
        first: index of the cell before the pixel.
        weight: weight of the cell after it.
        begins: first pixel of each cell i; its pixels are `begins[i]` to `begins[i + 1]`.
    """

    first: Int[Tensor, " pixels"]
    weight: Float[Tensor, " pixels"]
    begins: Int[Tensor, " cells_and_end"]


@lru_cache(maxsize=16)
def _neighbours(cells: int, pixels: int, device: torch.device) -> _Neighbours:
    matrix = resize_matrix(cells, pixels)
    first = (matrix > 0).byte().argmax(dim=1)
    following = (first + 1).clamp(max=cells - 1)
    weight = matrix.gather(1, following[:, None])[:, 0] * (following > first)
    begins = torch.searchsorted(first, torch.arange(cells + 1))
    return _Neighbours(
        first.to(device, torch.int32), weight.to(device, torch.float32), begins.to(device, torch.int32)
    )


@triton.jit
@no_type_check
def _sum_up(
    logits: tl.tensor,
    labels: tl.tensor,
    present: tl.tensor,
    row_begins: tl.tensor,
    row_weights: tl.tensor,
    column_firsts: tl.tensor,
    column_weights: tl.tensor,
    sums: tl.tensor,
    maps: tl.tensor,
    classes: tl.tensor,
    width: tl.tensor,
    height: tl.tensor,
    grid_width: tl.tensor,
    grid_height: tl.tensor,
    alpha: tl.tensor,
    gamma: tl.constexpr,
    ignored: tl.constexpr,
    leave_out: tl.constexpr,
    with_maps: tl.constexpr,
    block: tl.constexpr,
    chunk: tl.constexpr,
) -> None:
    pair, tile = tl.program_id(0).to(tl.int64), tl.program_id(1)
    pairs, tiles = tl.num_programs(0).to(tl.int64), tl.num_programs(1)
    own, is_present = (pair % classes).to(tl.int32), tl.load(present + pair) != 0
    x = tile * block + tl.arange(0, block)
    inside = x < width
    left = tl.load(column_firsts + x, mask=inside, other=0)
    to_right = tl.load(column_weights + x, mask=inside, other=0.0)
    begin_column = tl.load(column_firsts + tile * block)
    end_column = tl.load(column_firsts + tl.minimum((tile + 1) * block, width) - 1) + 2
    grid = logits + pair * grid_height * grid_width
    labels += (pair // classes) * height * width + x
    # The start of this program's first map; each of the other two lies `stride` further.
    out = maps + (tile * pairs + pair) * grid_height * grid_width
    stride = tiles * pairs * grid_height * grid_width

    zero = tl.zeros([block], dtype=tl.float32)
    focal, probability, overlap, pixels = zero, zero, zero, zero
    due_focal, due_probability, due_overlap = zero, zero, zero
    below = _grid_row(grid, left, to_right, inside, grid_width)
    for k in range(grid_height):
        above = below
        row = tl.minimum(k + 1, grid_height - 1)
        below = _grid_row(grid + row * grid_width, left, to_right, inside, grid_width)
        first, end = tl.load(row_begins + k), tl.load(row_begins + k + 1)
        if is_present:
            f, p, o, n, f_slope, p_slope, o_slope, f_low, p_low, o_low = _between(
                above, below, labels, own, row_weights, first, end, width, inside, alpha,
                gamma, ignored, leave_out, with_maps, with_own=True,
            )  # fmt: skip
        else:
            f, p, o, n, f_slope, p_slope, o_slope, f_low, p_low, o_low = _between(
                above, below, labels, own, row_weights, first, end, width, inside, alpha,
                gamma, ignored, leave_out, with_maps, with_own=False,
            )  # fmt: skip
        focal, probability, overlap, pixels = focal + f, probability + p, overlap + o, pixels + n
        if with_maps:
            at = out + k * grid_width
            for column in range(begin_column, end_column, chunk):
                columns = column + tl.arange(0, chunk)
                exists = columns < grid_width
                weight = tl.where(left[:, None] == columns, 1 - to_right[:, None], 0.0)
                weight += tl.where(left[:, None] + 1 == columns, to_right[:, None], 0.0)
                _store(at + columns, due_focal + (f_slope - f_low), weight, exists)
                _store(at + stride + columns, due_probability + (p_slope - p_low), weight, exists)
                if is_present:
                    _store(at + 2 * stride + columns, due_overlap + (o_slope - o_low), weight, exists)
            due_focal, due_probability, due_overlap = f_low, p_low, o_low

    at, stride = sums + tile * pairs + pair, tiles * pairs
    tl.store(at, tl.sum(focal, axis=0))
    tl.store(at + stride, tl.sum(probability, axis=0))
    tl.store(at + 2 * stride, tl.sum(overlap, axis=0))
    tl.store(at + 3 * stride, tl.sum(pixels, axis=0))


@triton.jit
@no_type_check
def _grid_row(
    row: tl.tensor, left: tl.tensor, to_right: tl.tensor, inside: tl.tensor, grid_width: tl.tensor
) -> tl.tensor:
    """Return a grid row upsampled across; outside the picture, a logit whose terms are 0."""
    before = tl.load(row + left, mask=inside, other=0.0).to(tl.float32)
    after = tl.load(row + tl.minimum(left + 1, grid_width - 1), mask=inside, other=0.0).to(tl.float32)
    return tl.where(inside, before + to_right * (after - before), -1e4)


@triton.jit
@no_type_check
def _store(at: tl.tensor, due: tl.tensor, weight: tl.tensor, exists: tl.tensor) -> None:
    """Resize a row's gradient to some columns of the grid and write it."""
    tl.store(at, tl.sum(due[:, None] * weight, axis=0), mask=exists)


@triton.jit
@no_type_check
def _between(
    above: tl.tensor,
    below: tl.tensor,
    labels: tl.tensor,
    own: tl.tensor,
    row_weights: tl.tensor,
    first: tl.tensor,
    end: tl.tensor,
    width: tl.tensor,
    inside: tl.tensor,
    alpha: tl.tensor,
    gamma: tl.constexpr,
    ignored: tl.constexpr,
    leave_out: tl.constexpr,
    with_maps: tl.constexpr,
    with_own: tl.constexpr,
) -> tuple[tl.tensor, ...]:
    """Sum over the pixels between two rows of the grid, for each pixel column.

    Return focal loss, probability, overlap and number of own pixels; the slopes of the first three; and the part of
    these slopes that belongs to the row below.
    """
    zero = tl.zeros_like(above)
    focal, probability, overlap, pixels = zero, zero, zero, zero
    f_slope, p_slope, o_slope, f_low, p_low, o_low = zero, zero, zero, zero, zero, zero
    for y in range(first, end):
        down = tl.load(row_weights + y)
        logit = above + down * (below - above)
        if with_own or leave_out:
            label = tl.load(labels + y * width, mask=inside, other=ignored).to(tl.int32)
        if leave_out:
            logit = tl.where(label == ignored, -1e4, logit)
        if with_own:
            mine = label == own
            # A positive is a negative of the opposite logit.
            loss, slope, wrong, right = _pixel(tl.where(mine, -logit, logit), gamma)
            weight = tl.where(mine, alpha, 1 - alpha)
            slope = tl.where(mine, -slope, slope) * weight
            p = tl.where(mine, right, wrong)
            overlap += tl.where(mine, p, 0.0)
            pixels += tl.where(mine, 1.0, 0.0)
        else:
            loss, slope, p, right = _pixel(logit, gamma)
            weight, wrong = 1 - alpha, p
            slope *= weight
        focal += loss * weight
        probability += p
        if with_maps:
            bell = wrong * right
            f_slope += slope
            f_low += down * slope
            p_slope += bell
            p_low += down * bell
            if with_own:
                own_bell = tl.where(mine, bell, 0.0)
                o_slope += own_bell
                o_low += down * own_bell
    return focal, probability, overlap, pixels, f_slope, p_slope, o_slope, f_low, p_low, o_low


@triton.jit
@no_type_check
def _pixel(logit: tl.tensor, gamma: tl.constexpr) -> tuple[tl.tensor, ...]:
    """Return p^gamma * -log(1 - p), its slope, p and 1 - p."""
    small = tl.exp(-tl.abs(logit))
    shared = 1 / ((1 + small) * (2 + small))
    larger = shared * (2 + small)
    smaller = small * larger
    p = tl.where(logit >= 0, larger, smaller)
    rest = tl.where(logit >= 0, smaller, larger)
    # log(1 + small) as 2 atanh(small / (2 + small)); 7 terms of its series reach single precision.
    t = small * (1 + small) * shared
    tt = t * t
    series = 1 + tt * (1 / 3 + tt * (1 / 5 + tt * (1 / 7 + tt * (1 / 9 + tt * (1 / 11 + tt * (1 / 13))))))
    log1p = 2 * t * series
    softplus = tl.maximum(logit, 0.0) + log1p
    power = p * p if gamma == 2 else tl.exp(gamma * (tl.minimum(logit, 0.0) - log1p))
    return power * softplus, power * (gamma * rest * softplus + p), p, rest
