"""The best class of every pixel, computed tile by tile from the logits of a picture's windows.

A tile's maps fit into a processor's cache, and no map of all classes ever has the size of a picture.
`labelling.py` defines the scores; `resampling.py` resizes and averages them. Logits are stored as
[rows, classes, columns], so that one product applies a matrix to all classes.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import isqrt, log2

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from cascade_core.inference.resampling import Side, WindowMatrices, chunks, resample, window_matrices
from cascade_core.runtime.threads import threads_used

ROUNDING = 1e-4
"""The tolerance of score bounds: a class that is behind the best by less stays a candidate."""
Span = tuple[int, int]
"""A range of rows or columns: its first, and its end, which does not belong to it."""
ClassIndex = Int64[Tensor, " candidates"] | slice
"""Candidate classes, as ids or as a slice."""


@dataclass(frozen=True)
class Tiling:
    """The sizes of the parts in which scores are computed.

    Attributes:
        height: height of a tile in pixels of the picture.
        width: width of a tile.
        numbers: the most numbers in one map of scores (classes x pixels), unless one class has more; a handful of
            maps exist at a time.
        bounded: rule out classes that cannot win anywhere in a tile before computing their scores.
    """

    height: int
    width: int
    numbers: int
    bounded: bool


CPU_NUMBERS = 2**18
"""The most numbers in one map of scores on a CPU: a megabyte, which a core's own cache holds."""
SMALLEST_TILE = 2**9
"""The fewest pixels of a tile on a CPU: below, calls of torch take longer than the numbers."""
ACCELERATOR = Tiling(height=256, width=256, numbers=2**25, bounded=False)
"""The tiling for GPUs: few large products, and no ruling out of classes, which would need a device sync."""


def cpu_tiling(views: Sequence[tuple[Side, Side]], num_classes: int) -> Tiling:
    """Return the tiling for a picture with these views (height and width) and a number of classes.

    A tile has as many pixels as fit into the cache with all classes, or as a patch of the model covers, if these are
    more: logits change little within a patch, so a smaller tile rules out no more classes, and only takes more calls.
    """
    patch = min(height.patch * width.patch for height, width in views)
    bits = round(log2(max(SMALLEST_TILE, CPU_NUMBERS / num_classes, patch)))
    return Tiling(height=2 ** (bits // 2), width=2 ** (bits - bits // 2), numbers=CPU_NUMBERS, bounded=True)


@dataclass(frozen=True)
class WindowLogits:
    """The model's logits for one window of one picture.

    Attributes:
        logits: logits on the patch grid.
        normaliser: the logarithm of the softmax's denominator over all classes, at the mask's size; None for
            independent classes (sigmoid), and where logits are averaged.
    """

    logits: Float[Tensor, "grid_height classes grid_width"]
    normaliser: Float[Tensor, "mask_height mask_width"] | None = None

    def at_mask(
        self, row: WindowMatrices, column: WindowMatrices, classes: ClassIndex
    ) -> Float[Tensor, "positions candidates across_positions"]:
        """Return the candidates' logits at the mask's positions that a tile depends on."""
        cells = self.logits[row.cells, :, column.cells][:, classes]
        return resample(cells, row.to_mask, column.to_mask)

    def probabilities(
        self, row: WindowMatrices, column: WindowMatrices, classes: ClassIndex
    ) -> Float[Tensor, "positions candidates across_positions"]:
        """Return the candidates' probabilities at the mask's positions that a tile depends on."""
        masks = self.at_mask(row, column, classes)
        if self.normaliser is None:
            return masks.sigmoid_()
        return masks.sub_(self.normaliser[row.positions, None, column.positions]).exp_()


@dataclass(frozen=True)
class PictureView:
    """One view of a picture: its windows by row and column, and their geometry along both sides."""

    windows: dict[tuple[int, int], WindowLogits]
    height: Side
    width: Side


@dataclass(frozen=True)
class LogitAverage:
    """How averaged logits become probabilities, where logits are averaged over windows and views.

    Attributes:
        softmax: over the classes; otherwise they are independent (sigmoid).
        num_classes: number of classes of the vocabulary, whose part the tiles may be.
        normaliser: the logarithm of the softmax's denominator in the tiles' part of the picture; it may lack where
            tiles take all classes at once.
    """

    softmax: bool
    num_classes: int
    normaliser: Float[Tensor, "height width"] | None = None


class Tiles:
    """The tiles of a part of a picture, with scores averaged over the picture's views.

    Probabilities are averaged, or with `logit_average` logits.
    """

    def __init__(
        self,
        views: Sequence[PictureView],
        rows: Span,
        columns: Span,
        *,
        tiling: Tiling,
        penalties: Tensor,
        logit_average: LogitAverage | None = None,
    ) -> None:
        self.views = views
        self.tiling = tiling
        self.penalties = penalties
        self.logit_average = logit_average
        self._origin = rows[0], columns[0]
        self.rows, self.columns = (
            [(part.start, part.stop) for part in chunks(*span, step)]
            for span, step in zip((rows, columns), self._tile_size(), strict=True)
        )
        logits = next(iter(views[0].windows.values())).logits
        matrices = partial(window_matrices, dtype=logits.dtype, device=logits.device)
        self._down = [[matrices(view.height, *span) for span in self.rows] for view in views]
        self._across = [[matrices(view.width, *span) for span in self.columns] for view in views]

    def _tile_size(self) -> tuple[int, int]:
        """Return height and width of a tile; if nothing is resized, the largest that `numbers` allows."""
        height, width = self.tiling.height, self.tiling.width
        if any(side.resized for view in self.views for side in (view.height, view.width)):
            return height, width
        largest = isqrt(self.tiling.numbers // len(self.penalties))
        return max(height, largest), max(width, largest)

    def scores(self, row: int, column: int, classes: ClassIndex) -> Float[Tensor, "height candidates width"]:
        """Return the candidates' scores in a tile: averaged over windows and views, less the penalties."""
        averages, of = self._averages(row, column, classes), self.logit_average
        if of is not None and of.softmax:
            if of.normaliser is None:
                assert averages.shape[1] == of.num_classes, "a softmax needs all classes"
                normaliser = averages.logsumexp(dim=1, keepdim=True)
            else:
                normaliser = of.normaliser[self._area(row, column, self._origin)][:, None]
            averages = averages.sub_(normaliser).exp_()
        elif of is not None:
            averages = averages.sigmoid_()
        return averages.sub_(self.penalties[classes, None])

    def _area(self, row: int, column: int, origin: tuple[int, int] = (0, 0)) -> tuple[slice, slice]:
        """Return the rows and columns of a tile, counted from `origin`."""
        (top, bottom), (left, right) = self.rows[row], self.columns[column]
        return slice(top - origin[0], bottom - origin[0]), slice(left - origin[1], right - origin[1])

    def _averages(
        self, row: int, column: int, classes: ClassIndex
    ) -> Float[Tensor, "height candidates width"]:
        """Return the candidates' probabilities (or logits) in a tile, averaged over windows and views."""
        total: Tensor | None = None
        for view, down, across in zip(self.views, self._down, self._across, strict=True):
            for y, x in product(down[row], across[column]):
                window = view.windows[y.window, x.window]
                read = window.probabilities if self.logit_average is None else window.at_mask
                part = read(y, x, classes)
                if y.to_target is not None:
                    part = (y.to_target @ part.flatten(1)).unflatten(1, part.shape[1:])
                if x.to_target is not None:
                    part = part @ x.to_target.mT
                total = part if total is None else total.add_(part)
        assert total is not None
        if len(self.views) > 1:
            total /= len(self.views)
        return total

    def needs_normaliser(self) -> bool:
        """Say whether the softmax's denominator must be known before the scores."""
        of = self.logit_average
        if of is None or not of.softmax:
            return False
        tiles = product(range(len(self.rows)), range(len(self.columns)))
        return len(self.penalties) < of.num_classes or any(
            len(self._class_batches(None, *tile)) > 1 for tile in tiles
        )

    def add_to_normaliser(self, normaliser: Float[Tensor, "height width"]) -> None:
        """Add these classes to the logarithm of the softmax's denominator in place; it starts as -inf."""
        for row, column in product(range(len(self.rows)), range(len(self.columns))):
            area = self._area(row, column, self._origin)
            for classes in self._class_batches(None, row, column):
                part = self._averages(row, column, classes).logsumexp(dim=1)
                normaliser[area] = torch.logaddexp(normaliser[area], part)

    def update_best(
        self,
        values: Float[Tensor, "height width"],
        ids: Int64[Tensor, "height width"],
        *,
        first: int,
        origin: tuple[int, int] = (0, 0),
    ) -> None:
        """Update each pixel's best score and class in place where one of these classes scores higher.

        `first` is the id of the first of these classes, `origin` the row and column of the picture where `values` and
        `ids` begin. In a tie the lowest id wins, if chunks of classes come in
        order. A pixel with a NaN score gets the score NaN and class -1, which no other class replaces.
        """
        # The maps of a CPU tile are so small that several threads would mostly wait for each other.
        with threads_used(1) if values.device.type == "cpu" else nullcontext():
            candidates = self.candidate_classes()
            for row, column in product(range(len(self.rows)), range(len(self.columns))):
                area = self._area(row, column, origin)
                for classes in self._class_batches(candidates[row][column], row, column):
                    score, best = self.scores(row, column, classes).max(dim=1)
                    best = best + classes.start if isinstance(classes, slice) else classes[best]
                    # The maximum of scores is NaN if one of them is, and no score is above NaN.
                    broken = score.isnan()
                    better = (score > values[area]).logical_or_(broken)
                    values[area] = torch.where(better, score, values[area])
                    ids[area] = torch.where(better, (best + first).masked_fill_(broken, -1), ids[area])

    def _class_batches(
        self, candidates: Int64[Tensor, " candidates"] | None, row: int, column: int
    ) -> Sequence[Int64[Tensor, " batch"] | slice]:
        """Split the candidates (None: all classes) so that no map exceeds the tiling's `numbers`."""
        (top, bottom), (left, right) = self.rows[row], self.columns[column]
        positions = max(
            max(len(y.to_mask) for y in down[row]) * max(len(x.to_mask) for x in across[column])
            for down, across in zip(self._down, self._across, strict=True)
        )
        size = max(1, self.tiling.numbers // max(positions, (bottom - top) * (right - left)))
        return list(chunks(0, len(self.penalties), size)) if candidates is None else candidates.split(size)

    def candidate_classes(self) -> list[list[Int64[Tensor, " candidates"] | None]]:
        """Return, by rows and columns of tiles, the classes that may win there; None stands for all."""
        of = self.logit_average
        softmax = (of is not None and of.softmax) or any(
            window.normaliser is not None for view in self.views for window in view.windows.values()
        )
        single_tile = len(self.rows) == len(self.columns) == 1
        if softmax or single_tile or not self.tiling.bounded:
            return [[None] * len(self.columns) for _ in self.rows]
        # Classes last, so that a tile's classes are contiguous in memory.
        can_win = self._can_win().permute(0, 2, 1).contiguous()
        return [[tile.nonzero()[:, 0] for tile in row] for row in can_win]

    def _can_win(self) -> Bool[Tensor, "rows classes columns"]:
        """Mark the classes that may be the best somewhere in a tile.

        Resizing and averaging stay within the range of their inputs, and the sigmoid is monotonic. So the lowest
        and the highest logit that a tile depends on bound its scores, and a class whose highest score is below
        the lowest score of another class wins nowhere.
        """
        bounds = zip(*map(self._bounds, range(len(self.views))), strict=True)
        if self.logit_average is None:
            means = (sum(logits.sigmoid() for logits in bound) / len(self.views) for bound in bounds)
        else:
            means = (torch.stack(bound).mean(dim=0).sigmoid() for bound in bounds)
        lowest, highest = (mean - self.penalties[:, None] for mean in means)
        # "Not below" instead of "above": NaN scores rule nothing out.
        return ~(highest < lowest.amax(dim=1, keepdim=True) - ROUNDING)

    def _bounds(self, view: int) -> tuple[Tensor, Tensor]:
        """Return the lowest and the highest logit of each class in each tile of a view."""
        down, across = self._down[view], self._across[view]
        lowest = self.penalties.new_full((len(down), len(self.penalties), len(across)), torch.inf)
        highest = torch.full_like(lowest, -torch.inf)
        for (y, x), window in self.views[view].windows.items():
            rows, row_cells = _tiles_of_window(down, y)
            columns, column_cells = _tiles_of_window(across, x)
            if row_cells and column_cells:
                area = (rows, slice(None), columns)
                lowest[area] = torch.minimum(lowest[area], -_highest(-window.logits, row_cells, column_cells))
                highest[area] = torch.maximum(highest[area], _highest(window.logits, row_cells, column_cells))
        return lowest, highest


def _tiles_of_window(tiles: Sequence[Sequence[WindowMatrices]], window: int) -> tuple[slice, list[slice]]:
    """Return the tiles along a side that depend on a window, and the window's cells that each depends on."""
    cells = {
        i: matrices.cells for i, tile in enumerate(tiles) for matrices in tile if matrices.window == window
    }
    return slice(min(cells, default=0), max(cells, default=-1) + 1), list(cells.values())


def _highest(
    logits: Float[Tensor, "grid_height classes grid_width"], rows: Sequence[slice], columns: Sequence[slice]
) -> Float[Tensor, "tile_rows classes tile_columns"]:
    """Return the highest logit of each class within each pair of a slice of rows and a slice of columns."""
    down = torch.stack([logits[row].amax(dim=0) for row in rows])
    return torch.stack([down[..., column].amax(dim=-1) for column in columns], dim=-1)
