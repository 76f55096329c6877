"""Where a large picture is cut so that its scores fit into memory, and how a part of a map is resized alone."""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Box:
    """Rows and columns of a picture, half open."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def shared(self, other: "Box") -> "Box | None":
        """Give the part that both boxes cover, None where they do not meet."""
        top, bottom = max(self.top, other.top), min(self.bottom, other.bottom)
        left, right = max(self.left, other.left), min(self.right, other.right)
        return Box(top, bottom, left, right) if top < bottom and left < right else None

    def within(self, outer: "Box") -> "Box":
        """Give the same box counted from the corner of `outer`."""
        return Box(
            self.top - outer.top, self.bottom - outer.top, self.left - outer.left, self.right - outer.left
        )

    def mirrored(self, width: int) -> "Box":
        """Give where the box lies once a picture of this width is turned left to right."""
        return Box(self.top, self.bottom, width - self.right, width - self.left)


def whole(size: tuple[int, int]) -> Box:
    """Give the box of a whole picture."""
    return Box(0, size[0], 0, size[1])


def strips(size: tuple[int, int], number: int) -> list[Box]:
    """Cut a picture across its long side into `number` strips (fewer where it has not so many pixels)."""
    height, width = size
    number = max(1, min(number, max(size)))
    cuts = [max(size) * i // number for i in range(number + 1)]
    if width >= height:
        return [Box(0, height, left, right) for left, right in pairwise(cuts)]
    return [Box(top, bottom, 0, width) for top, bottom in pairwise(cuts)]


def source_box(target: Box, target_size: tuple[int, int], source_size: tuple[int, int]) -> Box:
    """Give the part of a map of `source_size` that bilinear resizing to `target_size` reads for a part of it."""
    top, bottom = _source_span(target.top, target.bottom, target_size[0], source_size[0])
    left, right = _source_span(target.left, target.right, target_size[1], source_size[1])
    return Box(top, bottom, left, right)


def resized_part(
    scores: Float[Tensor, "batch classes part_height part_width"],
    source: Box,
    source_size: tuple[int, int],
    target: Box,
    target_size: tuple[int, int],
) -> Float[Tensor, "batch classes {target.height} {target.width}"]:
    """Give the part `target` of the map of `target_size` that the whole map of `source_size` would become.

    Bilinear, as `interpolate(align_corners=False)` does it: the same numbers for the whole picture, and up
    to rounding for a strip.
    """
    if source_size == target_size:
        down, across = target.within(source).slices
        return scores[..., down, across]
    if target == whole(target_size):
        return F.interpolate(scores, size=target_size, mode="bilinear", align_corners=False)
    # By hand along the side that is cut, which torch cannot begin in between; the rest is torch's, and faster.
    if target.height < target_size[0]:
        scores = _lerp(scores, -2, source.top, source_size[0], target.top, target.bottom, target_size[0])
    if target.width < target_size[1]:
        scores = _lerp(scores, -1, source.left, source_size[1], target.left, target.right, target_size[1])
    return F.interpolate(scores, size=(target.height, target.width), mode="bilinear", align_corners=False)


def _positions(first: int, last: int, target_length: int, source_length: int) -> Float[Tensor, " span"]:
    places = torch.arange(first, last, dtype=torch.float64)
    return ((places + 0.5) * (source_length / target_length) - 0.5).clamp(min=0, max=source_length - 1)


def _source_span(first: int, last: int, target_length: int, source_length: int) -> tuple[int, int]:
    if (first, last) == (0, target_length):
        return 0, source_length
    ends = _positions(first, last, target_length, source_length)[[0, -1]].tolist()
    return int(ends[0]), min(int(ends[1]) + 2, source_length)


def _lerp(
    scores: Tensor, dim: int, offset: int, source_length: int, first: int, last: int, target_length: int
) -> Tensor:
    positions = _positions(first, last, target_length, source_length)
    before = positions.long()
    after = (before + 1).clamp(max=source_length - 1)
    share = (positions - before).to(scores.dtype).to(scores.device)
    before, after = ((index - offset).to(scores.device) for index in (before, after))
    if dim == -2:
        share = share[:, None]
    return torch.lerp(scores.index_select(dim, before), scores.index_select(dim, after), share)
