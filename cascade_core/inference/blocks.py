"""Labels of a picture that is too large for memory, block by block.

A block is labelled from the windows that it depends on, and these are read with it; so a block's labels are those that
the whole picture would give, and memory does not depend on the picture's size. Windows at a block's border belong to
the neighbouring block too and are computed for both: a fifth more work for windows of 512 pixels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from cascade_core.batches.transforms import Channels, normalise
from cascade_core.configs.config import EvalConfig
from cascade_core.errors import UserError
from cascade_core.inference.labelling import default_tiling, picture_sides, settled
from cascade_core.inference.resampling import Side, chunks, windows_at
from cascade_core.inference.strips import Limits, Strip, ViewBatch
from cascade_core.inference.tiles import Span
from cascade_core.inference.views import Picture
from cascade_core.inference.vocabulary import Vocabulary

BLOCK_SIDE = 2**12
"""Height and width of a block in pixels, about: a whole number of strides."""

SETTLED_ROWS = 256

ReadArea = Callable[[Span, Span], Picture]
"""Returns the pixels of some rows and columns of a picture, 8-bit RGB."""


@dataclass(frozen=True)
class Block:
    """The labels of a part of a picture.

    Attributes:
        rows: first row, and the end, which does not belong to the block; `columns` likewise.
        ids: the class of each pixel; background has the id after the classes.
        confidence: the winner's mean probability, 0 to 1.
    """

    rows: Span
    columns: Span
    ids: Int32[Tensor, "height width"]
    confidence: Float[Tensor, "height width"]


@dataclass(frozen=True)
class BlockLabeller:
    """Labels blocks of one picture, which the model sees at its own size through sliding windows.

    Attributes:
        size: height and width of the picture.
        mean: of the channels, as the model was trained; `std` likewise.
    """

    vocabulary: Vocabulary
    size: tuple[int, int]
    evaluate: EvalConfig
    mean: Channels
    std: Channels

    def __post_init__(self) -> None:
        patch = self.vocabulary.segmentor.config.clip.patch_size
        if min(self.size) < patch:
            raise UserError(
                f"the picture has {self.size[1]} x {self.size[0]} pixels, less than a patch of the model, {patch}"
            )
        if self.evaluate.refine != "off":
            raise UserError(
                f"refine={self.evaluate.refine!r} needs the whole picture in memory; give refine off"
            )

    @property
    def settings(self) -> EvalConfig:
        """The inference settings: sliding windows over the picture at its own size."""
        return self.evaluate.model_copy(update={"mode": "slide", "short_side": None})

    def rows(self) -> list[Span]:
        """Return the rows of each row of blocks."""
        return self._spans(self.size[0])

    def columns(self) -> list[Span]:
        """Return the columns of each block of a row."""
        return self._spans(self.size[1])

    def _spans(self, length: int) -> list[Span]:
        stride = self.evaluate.stride
        return [(part.start, part.stop) for part in chunks(0, length, max(1, BLOCK_SIDE // stride) * stride)]

    @torch.no_grad()
    def label(self, rows: Span, columns: Span, read: ReadArea) -> Block:
        """Label a block; `read` is called once, for the windows that the block depends on."""
        whole = ViewBatch(self.size, 1, _unread)
        sides = picture_sides(whole, self.size, self.settings, self.vocabulary.segmentor)
        (top, bottom), (left, right) = (
            _area(side, *span) for side, span in zip(sides, (rows, columns), strict=True)
        )
        pixels = read((top, bottom), (left, right))

        def crop(down: slice, across: slice) -> Tensor:
            part = pixels[down.start - top : down.stop - top, across.start - left : across.stop - left]
            return normalise(part, self.mean, self.std)[None]

        tiling = default_tiling(self.vocabulary, [sides])
        strip = Strip(self.vocabulary, self.settings, Limits(), tiling, rows, columns)
        shape = (rows[1] - rows[0], columns[1] - columns[0])
        values = torch.full(shape, -torch.inf, dtype=self.vocabulary.dtype, device=self.vocabulary.device)
        ids = torch.full(shape, -1, dtype=torch.int64, device=self.vocabulary.device)
        for _, chunk, tiles in strip.tiles([ViewBatch(self.size, 1, crop)], [sides]):
            tiles.update_best(values, ids, first=chunk.start, origin=(rows[0], columns[0]))
        labels = torch.empty(shape, dtype=torch.int32, device=self.vocabulary.device)
        # In parts, as the block's maps are the most that is in memory at a time.
        for part in chunks(0, shape[0], SETTLED_ROWS):
            labels[part], values[part] = settled(self.vocabulary, values[part], ids[part], self.settings)
        return Block(rows, columns, labels, values)

    def __iter__(self) -> Iterator[tuple[Span, Span]]:
        """Yield the rows and columns of every block, row by row."""
        return product(self.rows(), self.columns())


def _area(side: Side, first: int, last: int) -> Span:
    """Return the pixels of all windows that positions first..last-1 depend on."""
    windows = windows_at(side, first, last)
    return side.window_slice(windows[0]).start, side.window_slice(windows[-1]).stop


def _unread(rows: slice, columns: slice) -> Tensor:
    raise AssertionError("only the picture's geometry is asked")
