"""A strip of a batch of pictures: the trunk sees every window that it depends on, and tiles compute its scores."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import product

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cascade_core.configs.config import EvalConfig
from cascade_core.inference.precision import computing
from cascade_core.inference.resampling import Side, chunks, windows_at
from cascade_core.inference.tiles import LogitAverage, PictureView, Span, Tiles, Tiling, WindowLogits
from cascade_core.inference.vocabulary import Vocabulary, log_normaliser
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

    def whole_in(self, size: tuple[int, int]) -> "ViewBatch":
        """Return the view of the whole pictures, which the model sees at `size`: its only crop is the whole."""

        def crop(rows: slice, columns: slice) -> Tensor:
            return F.interpolate(self.crop(rows, columns), size=size, mode="bilinear", align_corners=False)

        return replace(self, crop=crop)


@dataclass(frozen=True)
class Limits:
    """Bounds on memory; only tests change them.

    Attributes:
        strip_pixels: pixels of a strip as the model sees them, over all views and pictures.
        view_pixels: pixels of a whole view, which is stored with 8 bits a channel.
        tokens: patches of one window.
        logits: numbers on the grids of all windows of a strip; for more, classes are processed in chunks, unless the model's
            classes are coupled.
        tiling: sizes of the parts in which scores are computed; None: the device's default.
    """

    strip_pixels: int = 2**22
    view_pixels: int = 2**28
    tokens: int = 2**15
    logits: int = 2**25
    tiling: Tiling | None = None


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
class Strip:
    """A strip of the pictures; runs the trunk on every window that the strip depends on."""

    vocabulary: Vocabulary
    evaluate: EvalConfig
    limits: Limits
    tiling: Tiling
    rows: Span
    columns: Span

    def tiles(
        self, views: Sequence[ViewBatch], sides: Sequence[tuple[Side, Side]]
    ) -> Iterator[tuple[int, slice, Tiles]]:
        """Yield each picture's index, each chunk of classes, and the picture's tiles for them."""
        classes, pictures = self._windows(views, sides)
        softmax, normalisers = self.vocabulary.score_function == "softmax", None
        if self.evaluate.average == "logits" and softmax:
            normalisers = self._picture_normalisers(classes, pictures, views[0].num_pictures)
        for chunk in classes:
            for index, picture_views in enumerate(pictures(chunk)):
                normaliser = None if normalisers is None else normalisers[index]
                yield index, chunk, self._tiles(picture_views, chunk, normaliser)

    def _tiles(self, views: Sequence[PictureView], chunk: slice, normaliser: Tensor | None) -> Tiles:
        average = None
        if self.evaluate.average == "logits":
            softmax = self.vocabulary.score_function == "softmax"
            average = LogitAverage(softmax, len(self.vocabulary), normaliser)
        return Tiles(
            views,
            self.rows,
            self.columns,
            tiling=self.tiling,
            penalties=self.vocabulary.penalties[chunk],
            logit_average=average,
        )

    def _picture_normalisers(
        self, classes: Sequence[slice], pictures: Callable[[slice], list[list[PictureView]]], number: int
    ) -> Float[Tensor, "pictures height width"] | None:
        """Return the softmax's denominators of averaged logits, as logarithms; None if each tile has all classes."""
        height, width = (last - first for first, last in (self.rows, self.columns))
        normalisers = torch.full(
            (number, height, width), -torch.inf, dtype=self.vocabulary.dtype, device=self.vocabulary.device
        )
        for chunk in classes:
            for index, picture_views in enumerate(pictures(chunk)):
                tiles = self._tiles(picture_views, chunk, None)
                if not tiles.needs_normaliser():
                    return None
                tiles.add_to_normaliser(normalisers[index])
        return normalisers

    def _windows(
        self, views: Sequence[ViewBatch], sides: Sequence[tuple[Side, Side]]
    ) -> tuple[list[slice], Callable[[slice], list[list[PictureView]]]]:
        """Return the chunks of classes, and a function that gives the logits of a chunk by picture and view."""
        windows = [
            list(product(windows_at(height, *self.rows), windows_at(width, *self.columns)))
            for height, width in sides
        ]
        cells = sum(
            len(indices) * height.grid * width.grid
            for indices, (height, width) in zip(windows, sides, strict=True)
        )
        classes = list(chunks(0, len(self.vocabulary), self.limits.logits // (views[0].num_pictures * cells)))
        if self.vocabulary.segmentor.coupled_classes:
            classes = [slice(0, len(self.vocabulary))]
        batches = [
            list(self._window_batches(*view, classes)) for view in zip(views, sides, windows, strict=True)
        ]

        def pictures(chunk: slice) -> list[list[PictureView]]:
            by_view = [_by_picture(*view, chunk) for view in zip(views, sides, batches, strict=True)]
            return [list(picture) for picture in zip(*by_view, strict=True)]

        return classes, pictures

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
                features = self.vocabulary.trunk(self.evaluate.precision)(
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
        return computing(self.vocabulary.device, self.evaluate.precision)

    def _normalisers(
        self, logits: Callable[[slice], Tensor], classes: Sequence[slice], mask: tuple[int, int]
    ) -> list[Tensor] | None:
        if self.vocabulary.score_function == "sigmoid" or self.evaluate.average == "logits":
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
