"""From pictures to the best class of every pixel: the one inference of evaluation and prediction.

The trunk sees windows of one or several pictures in batches, and what is kept of a window are its logits on the
patch grid. Labels are made of them tile by tile (`tiles.py`). A picture with very many windows is cut into strips,
and a very long list of classes into chunks, with a running maximum, so that memory is bounded whatever is asked for.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise, product
from math import ceil

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cascade_core.configs.config import EvalConfig
from cascade_core.errors import UserError
from cascade_core.inference.background import with_background
from cascade_core.inference.resampling import Side, windows_read
from cascade_core.inference.sliding import window_origins
from cascade_core.inference.tiles import ACCELERATOR, CPU, SeenPicture, SeenWindow, Span, Tiles, Tiling
from cascade_core.inference.vocabulary import Vocabulary, chunks, log_normaliser
from cascade_core.model.segmentor import Segmentor
from cascade_core.model.trunk import TrunkFeatures


@dataclass(frozen=True)
class Shown:
    """Pictures of one size as one view shows them to the model.

    Attributes:
        size: at which the model sees them.
        number: of pictures.
        crop: gives rows and columns of all of them, normalised.
        mirrored: whether they are turned left to right.
    """

    size: tuple[int, int]
    number: int
    crop: Callable[[slice, slice], Float[Tensor, "number 3 height width"]]
    mirrored: bool = False


@dataclass(frozen=True)
class Limits:
    """How much stands in memory at once; a test makes them small, nobody else needs to.

    Attributes:
        seen_pixels: pixels of a strip as the model sees them, all views and pictures together.
        view_pixels: pixels of a whole view, which is held with 8 bits a channel.
        tokens: patches of one window.
        logits: numbers on the patch grids of all windows of a strip; more make chunks of the classes.
        tiling: portions in which scores are worked out; None: what suits the device.
    """

    seen_pixels: int = 2**22
    view_pixels: int = 2**28
    tokens: int = 2**15
    logits: int = 2**25
    tiling: Tiling | None = None

    def tiles(self, device: torch.device) -> Tiling:
        return self.tiling or (CPU if device.type == "cpu" else ACCELERATOR)


@dataclass(frozen=True)
class Best:
    """For each picture of a batch the best class of every pixel, and the probability the model gives it."""

    classes: Int64[Tensor, "batch height width"]
    confidence: Float[Tensor, "batch height width"]


@torch.no_grad()
def best_classes(
    vocabulary: Vocabulary,
    views: Sequence[Shown],
    *,
    size: tuple[int, int],
    evaluate: EvalConfig,
    limits: Limits | None = None,
) -> Best:
    """Label pictures, at `size`, with the best class after averaging the views' scores; all stays on the device.

    A view's scores are those of `class_scores.py`, whole or averaged over sliding windows as `evaluate` says. Of
    equal scores the first class wins; background, by the policy of `evaluate`, has the id after the classes.
    Confidence is the winner's averaged probability, with the seen penalty not taken off, also where it lost to
    background's threshold. Where scores are not numbers the class is -1, and the confidence -inf.
    """
    shape = (views[0].number, *size)
    values = torch.full(shape, -torch.inf, dtype=vocabulary.dtype, device=vocabulary.device)
    ids = torch.full(shape, -1, dtype=torch.int64, device=vocabulary.device)
    for picture, chunk, tiles in all_tiles(vocabulary, views, size=size, evaluate=evaluate, limits=limits):
        tiles.improve(values[picture], ids[picture], first=chunk.start)
    told = with_background(values, ids, background=evaluate.background, num_vectors=len(vocabulary))
    told = told.masked_fill(ids < 0, -1)
    return Best(told, values.add_(vocabulary.penalties[ids]))


@torch.no_grad()
def all_tiles(
    vocabulary: Vocabulary,
    views: Sequence[Shown],
    *,
    size: tuple[int, int],
    evaluate: EvalConfig,
    limits: Limits | None = None,
) -> Iterator[tuple[int, slice, Tiles]]:
    """Yield for each strip and chunk of classes, in their order, every picture's number, the chunk and the tiles."""
    limits = limits or Limits()
    sides = [_sides(view, size, evaluate, vocabulary.segmentor) for view in views]
    tiling = limits.tiles(vocabulary.device)
    for rows, columns in strips(size, _number_of_strips(views, evaluate, limits)):
        strip = _Strip(vocabulary, evaluate, limits, tiling, rows, columns)
        for chunk, pictures in strip.pictures(views, sides):
            for number, seen in enumerate(pictures):
                penalties = vocabulary.penalties[chunk]
                yield number, chunk, Tiles(seen, rows, columns, tiling=tiling, penalties=penalties)


def strips(size: tuple[int, int], number: int) -> list[tuple[Span, Span]]:
    """Cut a picture across its long side into `number` strips (fewer where it has not so many pixels)."""
    height, width = size
    number = max(1, min(number, max(size)))
    cuts = pairwise(max(size) * i // number for i in range(number + 1))
    if width >= height:
        return [((0, height), cut) for cut in cuts]
    return [(cut, (0, width)) for cut in cuts]


def _number_of_strips(views: Sequence[Shown], evaluate: EvalConfig, limits: Limits) -> int:
    # A window of the whole view comes whole for every strip, so cutting the view would only repeat it.
    if evaluate.mode == "whole":
        return 1
    return ceil(sum(view.number * view.size[0] * view.size[1] for view in views) / limits.seen_pixels)


def check_sizes(
    sizes: Sequence[tuple[int, int]], evaluate: EvalConfig, patch_size: int, limits: Limits
) -> None:
    """Check that memory has room for views of these sizes, before any is made.

    Raises:
        UserError: a view or a window of it is larger than `limits` allow.
    """
    for height, width in sizes:
        if height * width > limits.view_pixels:
            raise UserError(
                f"the model would see {width:,} x {height:,} pixels; at most {limits.view_pixels:,} are taken: "
                "cut the picture, or use a shorter short side"
            )
        window = _window((height, width), evaluate)
        tokens = (window[0] // patch_size) * (window[1] // patch_size)
        if tokens > limits.tokens:
            raise UserError(
                f"the model would see {width} x {height} pixels at once, {tokens:,} patches; at most "
                f"{limits.tokens:,} are taken: use sliding windows, or a shorter short side"
            )


def _window(size: tuple[int, int], evaluate: EvalConfig) -> tuple[int, int]:
    if evaluate.mode == "whole":
        return size
    return min(size[0], evaluate.crop_size), min(size[1], evaluate.crop_size)


def _sides(
    view: Shown, size: tuple[int, int], evaluate: EvalConfig, segmentor: Segmentor
) -> tuple[Side, Side]:
    """Give how the windows lie over the two sides of a view."""
    patch, window = segmentor.config.clip.patch_size, _window(view.size, evaluate)
    grid = window[0] // patch, window[1] // patch
    mask = segmentor.mask_size(torch.empty(1, 1, *grid, device="meta"), window)
    down, across = (
        Side(
            target=size[i],
            seen=view.size[i],
            window=window[i],
            mask=mask[i],
            grid=grid[i],
            origins=(0,)
            if evaluate.mode == "whole"
            else window_origins(view.size[i], evaluate.crop_size, evaluate.stride),
            mirrored=view.mirrored and i == 1,
        )
        for i in (0, 1)
    )
    return down, across


@dataclass(frozen=True)
class _Look:
    """Windows of one view that went through the trunk together, and what is known of them.

    `logits` gives those of a chunk of classes, for each window all pictures, one window after the other.
    """

    windows: Sequence[tuple[int, int]]
    logits: Callable[[slice], Float[Tensor, "windows_pictures chunk grid_height grid_width"]]
    normalisers: Sequence[Float[Tensor, "mask_height mask_width"]] | None


@dataclass(frozen=True)
class _Strip:
    """A strip of the pictures: shows the trunk all windows that it is made from."""

    vocabulary: Vocabulary
    evaluate: EvalConfig
    limits: Limits
    tiling: Tiling
    rows: Span
    columns: Span

    def pictures(
        self, views: Sequence[Shown], sides: Sequence[tuple[Side, Side]]
    ) -> Iterator[tuple[slice, list[list[SeenPicture]]]]:
        """Yield chunks of the classes, and with each what the model says of every picture in every view."""
        windows = [
            list(product(windows_read(down, *self.rows), windows_read(across, *self.columns)))
            for down, across in sides
        ]
        cells = sum(
            len(some) * down.grid * across.grid for some, (down, across) in zip(windows, sides, strict=True)
        )
        classes = list(chunks(0, len(self.vocabulary), self.limits.logits // (views[0].number * cells)))
        looks = [
            list(self._looks(view, pair, some, classes))
            for view, pair, some in zip(views, sides, windows, strict=True)
        ]
        for chunk in classes:
            seen = [
                self._by_picture(view, pair, some, chunk)
                for view, pair, some in zip(views, sides, looks, strict=True)
            ]
            yield chunk, [list(picture) for picture in zip(*seen, strict=True)]

    def _looks(
        self,
        view: Shown,
        sides: tuple[Side, Side],
        windows: Sequence[tuple[int, int]],
        classes: Sequence[slice],
    ) -> Iterator[_Look]:
        trunk = self.vocabulary.segmentor.trunk
        for few in chunks(0, len(windows), self.evaluate.batch_size // view.number):
            crops = [
                view.crop(*(side.part(i) for side, i in zip(sides, window, strict=True)))
                for window in windows[few]
            ]
            with self._precision():
                features = trunk(torch.cat(crops).to(self.vocabulary.device, non_blocking=True))
            logits = self._logits(features, classes)
            yield _Look(
                windows[few], logits, self._normalisers(logits, classes, (sides[0].mask, sides[1].mask))
            )

    def _logits(self, features: TrunkFeatures, classes: Sequence[slice]) -> Callable[[slice], Tensor]:
        if len(classes) > 1:
            return lambda chunk: self._decoded(features, chunk)
        # Far smaller than the features, which can go.
        every = self._decoded(features, classes[0])
        return lambda _: every

    def _decoded(self, features: TrunkFeatures, chunk: slice) -> Tensor:
        # What is made of text once, and for all pictures, is made in single precision.
        prepared = self.vocabulary.prepared[chunk]
        with self._precision():
            return self.vocabulary.segmentor.decode(features, prepared)

    def _precision(self) -> AbstractContextManager[None]:
        if self.evaluate.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.vocabulary.device.type, torch.bfloat16)

    def _normalisers(
        self, logits: Callable[[slice], Tensor], classes: Sequence[slice], mask: tuple[int, int]
    ) -> list[Tensor] | None:
        if self.vocabulary.kind == "focal_dice":
            return None
        total: list[Tensor] = []
        for chunk in classes:
            part = [log_normaliser(one, mask, numbers=self.tiling.numbers) for one in logits(chunk)]
            total = [torch.logaddexp(*pair) for pair in zip(total, part, strict=True)] if total else part
        return total

    def _by_picture(
        self, view: Shown, sides: tuple[Side, Side], looks: Sequence[_Look], chunk: slice
    ) -> list[SeenPicture]:
        windows: list[dict[tuple[int, int], SeenWindow]] = [{} for _ in range(view.number)]
        for look in looks:
            logits = look.logits(chunk).transpose(1, 2).contiguous()
            for index, (window, picture) in enumerate(product(look.windows, range(view.number))):
                normaliser = None if look.normalisers is None else look.normalisers[index]
                windows[picture][window] = SeenWindow(logits[index], normaliser)
        return [SeenPicture(some, *sides) for some in windows]
