"""Resizing and window averaging along one side of a picture, as small matrices.

Between a window's logits and a picture's scores every step but the sigmoid (or softmax) is linear, and acts on
rows and columns separately: upsampling the patch grid to the mask, resizing the mask to the window, averaging
over the windows, and resizing to the picture's own size. So two matrices per window and side are enough.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from cascade_core.errors import UserError


@dataclass(frozen=True)
class Side:
    """One side of a picture: its length at each step, and the windows over it.

    Attributes:
        target: length at the picture's own size, in pixels.
        view: length at which the model sees the picture, in pixels.
        window: length of each window, in pixels of the view.
        mask: length of a window's mask, on which logits become probabilities.
        grid: length of a window in cells of the logits, which are patches with most decoders.
        origins: first pixel of each window on the view.
        mirrored: whether the view is mirrored along this side.
    """

    target: int
    view: int
    window: int
    mask: int
    grid: int
    origins: tuple[int, ...]
    mirrored: bool = False

    @property
    def resized(self) -> bool:
        """Whether probabilities are resized, or averaged over windows."""
        return not self.target == self.view == self.window == self.mask

    @property
    def patch(self) -> float:
        """Length of a patch of the model at the picture's own size, in pixels."""
        return self.window / self.grid * self.target / self.view

    def window_slice(self, window: int) -> slice:
        """Return the pixels of a window on the view."""
        return slice(self.origins[window], self.origins[window] + self.window)


@dataclass(frozen=True)
class WindowMatrices:
    """The matrices from one window to a stretch of the picture's side.

    Attributes:
        window: index of the window on its side.
        cells: patches that the stretch depends on.
        positions: positions of the mask that the stretch depends on.
        to_mask: matrix from logits of the cells to logits at the positions.
        to_target: matrix from probabilities at the positions to this window's part of the stretch's scores; None
            is the identity. Summed over all windows, each row's entries add up to 1.
    """

    window: int
    cells: slice
    positions: slice
    to_mask: Float[Tensor, "positions cells"]
    to_target: Float[Tensor, "stretch positions"] | None


def window_origins(length: int, crop: int, stride: int) -> tuple[int, ...]:
    """Return the first pixel of each window along a side: one every `stride` pixels, the last moved back inside.

    A side shorter than the crop has one window, of the whole side.

    Raises:
        UserError: a length is not positive, or the stride exceeds the crop, which would leave gaps.
    """
    if min(length, crop, stride) < 1 or stride > crop:
        raise UserError(
            f"length={length}, crop={crop}, stride={stride}: all must be positive and stride at most crop"
        )
    number = max(length - crop + stride - 1, 0) // stride + 1
    return tuple(max(min(i * stride + crop, length) - crop, 0) for i in range(number))


def window_matrices(
    side: Side, first: int, last: int, *, dtype: torch.dtype, device: torch.device
) -> tuple[WindowMatrices, ...]:
    """Return the matrices of every window that overlaps positions first..last-1 of the target.

    The results of the last calls are cached for the next picture of this size.
    """
    cached = _matrices_on_cpu if device.type == "cpu" else _matrices_on_accelerator
    return cached(side, first, last, dtype, device)


def _window_matrices(
    side: Side, first: int, last: int, dtype: torch.dtype, device: torch.device
) -> tuple[WindowMatrices, ...]:
    read, to_target = bilinear(*_stretch(side, first, last), target=side.target, source=side.view)
    if side.mirrored:
        to_target = to_target.flip(0)
    to_target = to_target / _window_counts(side)[read]
    matrices = []
    for window in windows_at(side, first, last):
        origin = side.origins[window]
        begin, end = max(read.start, origin), min(read.stop, origin + side.window)
        positions, to_window = bilinear(begin - origin, end - origin, target=side.window, source=side.mask)
        cells, to_mask = bilinear(positions.start, positions.stop, target=side.mask, source=side.grid)
        matrix = to_target[:, begin - read.start : end - read.start] @ to_window
        identity = matrix.shape[0] == matrix.shape[1] and bool((matrix == torch.eye(len(matrix))).all())
        # Copied without a device sync: the device may still be at work on earlier pictures.
        to_mask, matrix = (m.to(device, dtype, non_blocking=True) for m in (to_mask, matrix))
        matrices.append(WindowMatrices(window, cells, positions, to_mask, None if identity else matrix))
    return tuple(matrices)


# Tiles on a GPU are larger: there an entry takes a third of a megabyte, on a CPU some kilobytes.
_matrices_on_cpu = lru_cache(maxsize=1024)(_window_matrices)
_matrices_on_accelerator = lru_cache(maxsize=256)(_window_matrices)


def windows_at(side: Side, first: int, last: int) -> range:
    """Return the windows that overlap positions first..last-1 of the target."""
    read = _read(*_stretch(side, first, last), target=side.target, source=side.view)
    windows = [
        i for i, origin in enumerate(side.origins) if origin < read.stop and read.start < origin + side.window
    ]
    return range(windows[0], windows[-1] + 1)


def bilinear(
    first: int, last: int, *, target: int, source: int
) -> tuple[slice, Float64[Tensor, "{last-first} read"]]:
    """Return the source positions that first..last-1 of `target` depend on, and the matrix that resizes them.

    The weights are those of `interpolate(align_corners=False)` without antialiasing, in double precision.
    """
    positions = _positions(torch.arange(first, last), target=target, source=source)
    read = _read(first, last, target=target, source=source)
    before = positions.long()
    rows, share = torch.arange(last - first), positions - before
    matrix = torch.zeros(last - first, read.stop - read.start, dtype=torch.float64)
    matrix[rows, before - read.start] = 1 - share
    # The position after `before` may lie outside of `read` if its weight is 0, hence the clamp.
    matrix[rows, (before + 1).clamp(max=read.stop - 1) - read.start] += share
    return read, matrix


def resample(
    cells: Float[Tensor, "rows classes columns"],
    down: Float[Tensor, "positions rows"],
    across: Float[Tensor, "across_positions columns"],
) -> Float[Tensor, "positions classes across_positions"]:
    """Apply one matrix to the rows of maps and another one to their columns."""
    wide = cells @ across.mT
    return (down @ wide.flatten(1)).unflatten(1, wide.shape[1:])


def chunks(first: int, last: int, size: int) -> Iterator[slice]:
    """Cut first..last-1 into slices of at most `size` (at least 1)."""
    step = max(1, size)
    for start in range(first, last, step):
        yield slice(start, min(start + step, last))


def _stretch(side: Side, first: int, last: int) -> tuple[int, int]:
    """Return where a stretch of the target lies on the view, which may be mirrored."""
    return (side.target - last, side.target - first) if side.mirrored else (first, last)


def _read(first: int, last: int, *, target: int, source: int) -> slice:
    begin, end = _positions(torch.tensor([first, last - 1]), target=target, source=source).tolist()
    return slice(int(begin), ceil(end) + 1)


def _positions(indices: Int64[Tensor, " span"], *, target: int, source: int) -> Float64[Tensor, " span"]:
    """Return the fractional source positions of target indices."""
    return ((indices + 0.5).double() * (source / target) - 0.5).clamp(min=0, max=source - 1)


def _window_counts(side: Side) -> Float64[Tensor, " {side.view}"]:
    """Count the windows over each position of the view."""
    counts = torch.zeros(side.view, dtype=torch.float64)
    for window in range(len(side.origins)):
        counts[side.window_slice(window)] += 1
    return counts
