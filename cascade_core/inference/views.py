"""The views of a picture whose scores prediction averages: one or more scales, each optionally also mirrored."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from cascade_core.batches.transforms import resize_image, seen_size, short_side_size
from cascade_core.errors import UserError

Picture = UInt8[np.ndarray, "height width 3"]

LARGEST_SCALE = 8.0


@dataclass(frozen=True)
class View:
    """A picture at `scale` times evaluation's size, optionally mirrored left to right."""

    scale: float = 1.0
    mirrored: bool = False

    def size(
        self,
        picture_size: tuple[int, int],
        *,
        short_side: int | None,
        patch_size: int,
        keep_ratio: bool = True,
    ) -> tuple[int, int]:
        """Return the height and width at which the model sees a picture of `picture_size`.

        This is evaluation's size (short side `short_side`; None: the picture's own size) times the scale. If a side
        is then shorter than a patch, the picture is enlarged until that side has one patch.
        """
        height, width = seen_size(picture_size, short_side, keep_ratio=keep_ratio)
        height, width = (max(1, round(side * self.scale)) for side in (height, width))
        if min(height, width) < patch_size:
            return short_side_size((height, width), patch_size)
        return height, width

    def of(self, picture: Picture, size: tuple[int, int]) -> UInt8[np.ndarray, "{size[0]} {size[1]} 3"]:
        """Return the picture in this view, at `size`."""
        resized = resize_image(picture, size)
        return resized[:, ::-1] if self.mirrored else resized


def views(scales: Sequence[float] = (1.0,), *, flip: bool = False) -> tuple[View, ...]:
    """Return a view for each scale, with `flip` each followed by its mirror image.

    Raises:
        UserError: there is no scale, a scale occurs twice, or a scale is not a positive number of at most 8.
    """
    if not scales:
        raise UserError("no scale was given; prediction needs at least one, such as 1")
    for scale in scales:
        if not math.isfinite(scale) or not 0 < scale <= LARGEST_SCALE:
            raise UserError(
                f"scale {scale} is not a number above 0 and at most {LARGEST_SCALE:g}; 1 is evaluation's size"
            )
    if len(set(scales)) < len(scales):
        raise UserError(f"scales {', '.join(f'{s:g}' for s in scales)} contain a scale twice; give each once")
    return tuple(
        View(scale, mirrored) for scale in scales for mirrored in ((False, True) if flip else (False,))
    )
