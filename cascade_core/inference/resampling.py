"""Resizing and averaging along one side of a picture, as matrices.

Every step from the logits of a window to the scores of a picture but the sigmoid is linear and acts on rows and
columns alone: upsampling the patch grid to the masks, resizing those to the window, averaging over the windows
and resizing to the picture's own size. So for a stretch of the picture's side and a window, two small matrices
say it all.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor


@dataclass(frozen=True)
class Side:
    """One side of a picture: how long it is at each step, and where the windows over it start.

    Attributes:
        target: at the picture's own size.
        seen: as the model sees the picture.
        window: of a window; all are of one length.
        mask: of a window's mask, where logits become probabilities.
        grid: of a window in patches.
        origins: of the windows, on the seen side.
        mirrored: whether the seen picture is the mirror image along this side.
    """

    target: int
    seen: int
    window: int
    mask: int
    grid: int
    origins: tuple[int, ...]
    mirrored: bool = False

    @property
    def resized(self) -> bool:
        """Whether scores are resized, or averaged over windows, after they were probabilities."""
        return not self.target == self.seen == self.window == self.mask

    def part(self, window: int) -> slice:
        """Give where a window lies on the seen side."""
        return slice(self.origins[window], self.origins[window] + self.window)


@dataclass(frozen=True)
class Reading:
    """What a stretch of the picture's side reads of one window.

    Attributes:
        window: index among the side's windows.
        cells: of the patch grid.
        places: of the mask.
        up: from the cells' logits to logits at the mask's places.
        down: from probabilities at those places to this window's part of the stretch's scores, None where it is
            the probabilities themselves. Over all windows, each row of these matrices sums up to 1.
    """

    window: int
    cells: slice
    places: slice
    up: Float[Tensor, "places cells"]
    down: Float[Tensor, "stretch places"] | None


def readings(
    side: Side, first: int, last: int, *, dtype: torch.dtype, device: torch.device
) -> tuple[Reading, ...]:
    """Give what positions first..last-1 of the target read of every window that matters to them.

    Those asked for last are kept, for the next picture of this size.
    """
    kept = _small if device.type == "cpu" else _large
    return kept(side, first, last, dtype, device)


def _readings(
    side: Side, first: int, last: int, dtype: torch.dtype, device: torch.device
) -> tuple[Reading, ...]:
    stretch = _stretch(side, first, last)
    seen, to_target = bilinear(*stretch, target=side.target, source=side.seen)
    if side.mirrored:
        to_target = to_target.flip(0)
    to_target = to_target / _visits(side)[seen]
    found = []
    for index in windows_read(side, first, last):
        origin = side.origins[index]
        begin, end = max(seen.start, origin), min(seen.stop, origin + side.window)
        places, to_window = bilinear(begin - origin, end - origin, target=side.window, source=side.mask)
        cells, up = bilinear(places.start, places.stop, target=side.mask, source=side.grid)
        down = to_target[:, begin - seen.start : end - seen.start] @ to_window
        same = down.shape[0] == down.shape[1] and bool((down == torch.eye(len(down))).all())
        # Without waiting for the device, which may still be at work on earlier pictures.
        matrix = None if same else down.to(device, dtype, non_blocking=True)
        found.append(Reading(index, cells, places, up.to(device, dtype, non_blocking=True), matrix))
    return tuple(found)


# Tiles on a GPU are larger: there a reading takes a third of a megabyte, on a CPU some kilobytes.
_small, _large = (lru_cache(maxsize=most)(_readings) for most in (1024, 256))


def windows_read(side: Side, first: int, last: int) -> range:
    """Give which windows matter to positions first..last-1 of the target."""
    seen = _read(*_stretch(side, first, last), target=side.target, source=side.seen)
    read = [
        i for i, origin in enumerate(side.origins) if origin < seen.stop and seen.start < origin + side.window
    ]
    return range(read[0], read[-1] + 1)


def bilinear(
    first: int, last: int, *, target: int, source: int
) -> tuple[slice, Float64[Tensor, "{last-first} read"]]:
    """Give bilinear resizing to first..last-1 of `target` as a matrix, and the source positions that it reads.

    As `interpolate(align_corners=False)` without antialiasing has it, in double precision.
    """
    places = _places(torch.arange(first, last), target=target, source=source)
    read = _read(first, last, target=target, source=source)
    before = places.long()
    rows, share = torch.arange(last - first), places - before
    matrix = torch.zeros(last - first, read.stop - read.start, dtype=torch.float64)
    matrix[rows, before - read.start] = 1 - share
    # Where the position after has no share, it may lie outside of what is read.
    matrix[rows, (before + 1).clamp(max=read.stop - 1) - read.start] += share
    return read, matrix


def _stretch(side: Side, first: int, last: int) -> tuple[int, int]:
    """Give the stretch of the target as the model sees it, turned if the view is."""
    return (side.target - last, side.target - first) if side.mirrored else (first, last)


def _read(first: int, last: int, *, target: int, source: int) -> slice:
    begin, end = _places(torch.tensor([first, last - 1]), target=target, source=source).tolist()
    return slice(int(begin), ceil(end) + 1)


def _places(positions: Int64[Tensor, " span"], *, target: int, source: int) -> Float64[Tensor, " span"]:
    """Give where positions of the target lie on the source."""
    return ((positions + 0.5).double() * (source / target) - 0.5).clamp(min=0, max=source - 1)


def _visits(side: Side) -> Float64[Tensor, " {side.seen}"]:
    """Count the windows over each position."""
    visits = torch.zeros(side.seen, dtype=torch.float64)
    for origin in side.origins:
        visits[origin : origin + side.window] += 1
    return visits
