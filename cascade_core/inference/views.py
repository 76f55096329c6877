"""The views of a picture whose scores prediction averages: several scales, each also mirrored if wanted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from cascade_core.batches.transforms import resize_image, short_side_size
from cascade_core.errors import UserError

Picture = UInt8[np.ndarray, "height width 3"]

LARGEST_SCALE = 8.0


@dataclass(frozen=True)
class View:
    """A picture `scale` times as large as evaluation sees it, mirrored left to right or not."""

    scale: float = 1.0
    mirrored: bool = False

    def size(
        self, picture_size: tuple[int, int], *, short_side: int | None, patch_size: int
    ) -> tuple[int, int]:
        """Give the height and width at which the model sees a picture of `picture_size`.

        That is evaluation's size (short side `short_side`, or the picture's own), times the scale. A side
        below one patch, which the model cannot see at all, makes the whole picture larger by as much.
        """
        height, width = picture_size if short_side is None else short_side_size(picture_size, short_side)
        height, width = (max(1, round(side * self.scale)) for side in (height, width))
        if min(height, width) < patch_size:
            return short_side_size((height, width), patch_size)
        return height, width

    def of(self, picture: Picture, size: tuple[int, int]) -> UInt8[np.ndarray, "{size[0]} {size[1]} 3"]:
        """Give the picture as this view shows it, at `size`."""
        seen = resize_image(picture, size)
        return seen[:, ::-1] if self.mirrored else seen


def views(scales: Sequence[float] = (1.0,), *, flip: bool = False) -> tuple[View, ...]:
    """Give a view for each scale, and after each its mirror image where `flip` is wanted.

    Raises:
        UserError: there is no scale, one comes twice, or one is not a positive number of at most 8.
    """
    if not scales:
        raise UserError("no scale given; prediction needs at least one, such as 1")
    for scale in scales:
        if not math.isfinite(scale) or not 0 < scale <= LARGEST_SCALE:
            raise UserError(
                f"scale {scale} is not a number above 0 and at most {LARGEST_SCALE:g}; 1 is evaluation's size"
            )
    if len(set(scales)) < len(scales):
        raise UserError(f"scales {', '.join(f'{s:g}' for s in scales)} name one twice; give each once")
    return tuple(
        View(scale, mirrored) for scale in scales for mirrored in ((False, True) if flip else (False,))
    )
