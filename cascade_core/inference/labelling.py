"""The best class of every pixel: the one inference that evaluation and prediction share.

A class's score is its probability at the mask's size (the *configured* size for square windows, as published),
less the seen penalty, resized to the window, averaged over windows, and resized to the picture.

The trunk processes windows of one or several pictures in batches, and only the windows' logits on the patch grid
are kept; `tiles.py` computes labels from them. To bound memory, a picture with very many windows is cut into
strips, and a very long list of classes into chunks with a running maximum.
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
from cascade_core.inference.resampling import Side, chunks, window_origins, windows_at
from cascade_core.inference.tiles import ACCELERATOR, CPU, PictureView, Span, Tiles, Tiling, WindowLogits
from cascade_core.inference.vocabulary import Vocabulary, log_normaliser
from cascade_core.model.segmentor import Segmentor
from cascade_core.model.trunk import TrunkFeatures


@dataclass(frozen=True)
class ViewBatch:
    """A batch of pictures of one size, as one view presents them to the model.

    Attributes:
        size: height and width at which the model sees the pictures.
        num_pictures: number of pictures.
        crop: returns the given rows and columns of all pictures, normalised.
        mirrored: whether the pictures are mirrored left to right.
    """

    size: tuple[int, int]
    num_pictures: int
    crop: Callable[[slice, slice], Float[Tensor, "num_pictures 3 height width"]]
    mirrored: bool = False


@dataclass(frozen=True)
class Limits:
    """Bounds on memory; only tests change them.

    Attributes:
        strip_pixels: pixels of a strip as the model sees them, over all views and pictures.
        view_pixels: pixels of a whole view, which is stored with 8 bits a channel.
        tokens: patches of one window.
        logits: numbers on the patch grids of all windows of a strip; for more, classes are processed in chunks.
        tiling: sizes of the parts in which scores are computed; None: the device's default.
    """

    strip_pixels: int = 2**22
    view_pixels: int = 2**28
    tokens: int = 2**15
    logits: int = 2**25
    tiling: Tiling | None = None


@torch.no_grad()
def best_classes(
    vocabulary: Vocabulary,
    views: Sequence[ViewBatch],
    *,
    size: tuple[int, int],
    evaluate: EvalConfig,
    limits: Limits | None = None,
) -> tuple[Int64[Tensor, "batch height width"], Float[Tensor, "batch height width"]]:
    """Return the best class of every pixel by the views' mean scores, and its confidence, without a device sync.

    Of equal scores the first class wins; background, by the policy of `evaluate`, has the id after the classes.
    Confidence is the winner's mean probability without the seen penalty, also at pixels below background's
    threshold. Pixels with NaN scores get class -1 and confidence -inf.
    """
    shape = (views[0].num_pictures, *size)
    values = torch.full(shape, -torch.inf, dtype=vocabulary.dtype, device=vocabulary.device)
    ids = torch.full(shape, -1, dtype=torch.int64, device=vocabulary.device)
    for picture, chunk, tiles in all_tiles(vocabulary, views, size=size, evaluate=evaluate, limits=limits):
        tiles.update_best(values[picture], ids[picture], first=chunk.start)
    labels = with_background(values, ids, background=evaluate.background, num_vectors=len(vocabulary))
    return labels.masked_fill(ids < 0, -1), values.add_(vocabulary.penalties[ids])


@torch.no_grad()
def all_tiles(
    vocabulary: Vocabulary,
    views: Sequence[ViewBatch],
    *,
    size: tuple[int, int],
    evaluate: EvalConfig,
    limits: Limits | None = None,
) -> Iterator[tuple[int, slice, Tiles]]:
    """Yield, by strip and chunk of classes, each picture's index, the chunk, and the picture's tiles."""
    limits = limits or Limits()
    sides = [_sides(view, size, evaluate, vocabulary.segmentor) for view in views]
    tiling = limits.tiling or (CPU if vocabulary.device.type == "cpu" else ACCELERATOR)
    pixels = sum(view.num_pictures * view.size[0] * view.size[1] for view in views)
    # In mode "whole" a view has a single window, which every strip would compute again.
    count = 1 if evaluate.mode == "whole" else ceil(pixels / limits.strip_pixels)
    for rows, columns in strips(size, count):
        strip = _Strip(vocabulary, evaluate, limits, tiling, rows, columns)
        for chunk, pictures in strip.pictures(views, sides):
            for index, picture_views in enumerate(pictures):
                penalties = vocabulary.penalties[chunk]
                yield index, chunk, Tiles(picture_views, rows, columns, tiling=tiling, penalties=penalties)


def strips(size: tuple[int, int], count: int) -> list[tuple[Span, Span]]:
    """Cut a picture across its long side into `count` strips, at most one per pixel."""
    height, width = size
    count = max(1, min(count, max(size)))
    cuts = pairwise(max(size) * i // count for i in range(count + 1))
    if width >= height:
        return [((0, height), cut) for cut in cuts]
    return [(cut, (0, width)) for cut in cuts]


def check_sizes(
    sizes: Sequence[tuple[int, int]], evaluate: EvalConfig, patch_size: int, limits: Limits
) -> None:
    """Check that views of these sizes fit into memory, before any is made.

    Raises:
        UserError: a view, or a window of it, is larger than `limits` allow.
    """
    for height, width in sizes:
        if height * width > limits.view_pixels:
            raise UserError(
                f"the model would see {width:,} x {height:,} pixels; at most {limits.view_pixels:,} are possible: "
                "cut the picture, or use a shorter short side"
            )
        window = _window((height, width), evaluate)
        tokens = (window[0] // patch_size) * (window[1] // patch_size)
        if tokens > limits.tokens:
            raise UserError(
                f"the model would see {width} x {height} pixels at once, {tokens:,} patches; at most "
                f"{limits.tokens:,} are possible: use sliding windows, or a shorter short side"
            )


def _window(size: tuple[int, int], evaluate: EvalConfig) -> tuple[int, int]:
    if evaluate.mode == "whole":
        return size
    return min(size[0], evaluate.crop_size), min(size[1], evaluate.crop_size)


def _sides(
    view: ViewBatch, size: tuple[int, int], evaluate: EvalConfig, segmentor: Segmentor
) -> tuple[Side, Side]:
    """Return the windows' geometry along the height and the width of a view."""
    patch, window = segmentor.config.clip.patch_size, _window(view.size, evaluate)
    grid = window[0] // patch, window[1] // patch
    mask = segmentor.mask_size(torch.empty(1, 1, *grid, device="meta"), window)
    height, width = (
        Side(
            target=size[i],
            view=view.size[i],
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
    return height, width


@dataclass(frozen=True)
class _WindowBatch:
    """Windows of one view that went through the trunk together.

    Attributes:
        windows: row and column of each window.
        logits: returns the logits of a chunk of classes: all pictures of the first window, then of the next.
        normalisers: the softmax's normaliser of each of these maps; None for independent classes.
    """

    windows: Sequence[tuple[int, int]]
    logits: Callable[[slice], Float[Tensor, "windows_pictures chunk grid_height grid_width"]]
    normalisers: Sequence[Float[Tensor, "mask_height mask_width"]] | None


@dataclass(frozen=True)
class _Strip:
    """A strip of the pictures; runs the trunk on every window that the strip depends on."""

    vocabulary: Vocabulary
    evaluate: EvalConfig
    limits: Limits
    tiling: Tiling
    rows: Span
    columns: Span

    def pictures(
        self, views: Sequence[ViewBatch], sides: Sequence[tuple[Side, Side]]
    ) -> Iterator[tuple[slice, list[list[PictureView]]]]:
        """Yield each chunk of classes with the logits of every picture in every view."""
        windows = [
            list(product(windows_at(height, *self.rows), windows_at(width, *self.columns)))
            for height, width in sides
        ]
        cells = sum(
            len(indices) * height.grid * width.grid
            for indices, (height, width) in zip(windows, sides, strict=True)
        )
        classes = list(chunks(0, len(self.vocabulary), self.limits.logits // (views[0].num_pictures * cells)))
        batches = [
            list(self._window_batches(*view, classes)) for view in zip(views, sides, windows, strict=True)
        ]
        for chunk in classes:
            by_view = [_by_picture(*view, chunk) for view in zip(views, sides, batches, strict=True)]
            yield chunk, [list(picture) for picture in zip(*by_view, strict=True)]

    def _window_batches(
        self,
        view: ViewBatch,
        sides: tuple[Side, Side],
        windows: Sequence[tuple[int, int]],
        classes: Sequence[slice],
    ) -> Iterator[_WindowBatch]:
        height, width = sides
        for part in chunks(0, len(windows), self.evaluate.batch_size // view.num_pictures):
            crops = [view.crop(height.window_slice(y), width.window_slice(x)) for y, x in windows[part]]
            with self._precision():
                features = self.vocabulary.segmentor.trunk(
                    torch.cat(crops).to(self.vocabulary.device, non_blocking=True)
                )
            logits = self._logits(features, classes)
            normalisers = self._normalisers(logits, classes, (height.mask, width.mask))
            yield _WindowBatch(windows[part], logits, normalisers)

    def _logits(self, features: TrunkFeatures, classes: Sequence[slice]) -> Callable[[slice], Tensor]:
        if len(classes) > 1:
            return lambda chunk: self._decode(features, chunk)
        # Decoded now: the logits are far smaller than the features, which are freed.
        logits = self._decode(features, classes[0])
        return lambda _: logits

    def _decode(self, features: TrunkFeatures, chunk: slice) -> Tensor:
        # Outside of autocast: terms of the text alone are computed once, in single precision.
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
            part = [log_normaliser(maps, mask, numbers=self.tiling.numbers) for maps in logits(chunk)]
            total = [torch.logaddexp(*pair) for pair in zip(total, part, strict=True)] if total else part
        return total


def _by_picture(
    view: ViewBatch, sides: tuple[Side, Side], batches: Sequence[_WindowBatch], chunk: slice
) -> list[PictureView]:
    """Sort the windows of a view by picture."""
    pictures: list[dict[tuple[int, int], WindowLogits]] = [{} for _ in range(view.num_pictures)]
    for batch in batches:
        logits = batch.logits(chunk).transpose(1, 2).contiguous()
        for index, (window, picture) in enumerate(product(batch.windows, pictures)):
            normaliser = None if batch.normalisers is None else batch.normalisers[index]
            picture[window] = WindowLogits(logits[index], normaliser)
    return [PictureView(windows, *sides) for windows in pictures]
