"""The best class of every pixel of a picture, from its windows' logits, tile by tile.

A tile is small enough for its maps to stay in a processor's cache, and no map of all classes ever has the size of
a picture. What the scores are is defined in `class_scores.py`; how they are resized and averaged in `resampling.py`.
Logits are held as [rows, classes, columns], so that each matrix is applied to all classes in one product.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product
from math import isqrt

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from cascade_core.inference.resampling import Reading, Side, readings
from cascade_core.runtime.threads import threads_used

ROUNDING = 1e-4
"""By how much bounds of scores may be off; a class that is as close as this to the best is not ruled out."""
Chosen = Int64[Tensor, " chosen"] | slice
"""Some classes, by number or as a stretch."""


@dataclass(frozen=True)
class Tiling:
    """In what portions the scores are worked out; a test makes them small, nobody else needs to.

    Attributes:
        height: of a tile, in pixels of the picture.
        width: of a tile.
        numbers: most numbers in one map of scores (classes x pixels), of which a handful live at a time.
        bounded: rule out classes that cannot win anywhere in a tile before their scores are worked out.
    """

    height: int
    width: int
    numbers: int
    bounded: bool


CPU = Tiling(height=16, width=32, numbers=2**18, bounded=True)
ACCELERATOR = Tiling(height=256, width=256, numbers=2**25, bounded=False)
"""Few large products, and no choice of classes, for which the device would have to be waited for."""


@dataclass(frozen=True)
class SeenWindow:
    """What the model says of one window of one picture.

    Attributes:
        logits: on the patch grid.
        normaliser: the logarithm of the softmax's denominator over all classes, at the mask's size; None where
            classes are independent (sigmoid).
    """

    logits: Float[Tensor, "grid_height classes grid_width"]
    normaliser: Float[Tensor, "mask_height mask_width"] | None = None

    def probabilities(
        self, row: Reading, column: Reading, classes: Chosen
    ) -> Float[Tensor, "places chosen across_places"]:
        """Give the probabilities of chosen classes at the places of the mask that a tile reads."""
        cells = self.logits[row.cells, :, column.cells][:, classes]
        masks = resample(cells, row.up, column.up)
        if self.normaliser is None:
            return masks.sigmoid_()
        return masks.sub_(self.normaliser[row.places, None, column.places]).exp_()


@dataclass(frozen=True)
class SeenPicture:
    """One view of a picture: its windows, by row and column, and how they lie on the picture."""

    windows: dict[tuple[int, int], SeenWindow]
    height: Side
    width: Side


Span = tuple[int, int]
"""First and last position, half open, of rows or columns."""


def resample(
    cells: Float[Tensor, "rows classes columns"],
    down: Float[Tensor, "places rows"],
    across: Float[Tensor, "across_places columns"],
) -> Float[Tensor, "places classes across_places"]:
    """Apply one matrix to the rows of maps and another one to their columns."""
    wide = cells @ across.mT
    return (down @ wide.flatten(1)).unflatten(1, wide.shape[1:])


class Tiles:
    """The tiles of a part of a picture, ready to be labelled from one view or the average of several."""

    def __init__(
        self, views: Sequence[SeenPicture], rows: Span, columns: Span, *, tiling: Tiling, penalties: Tensor
    ) -> None:
        self.views = views
        self.tiling = tiling
        self.penalties = penalties
        height, width = self._shape()
        self.rows, self.columns = _cut(rows, height), _cut(columns, width)
        some = next(iter(views[0].windows.values())).logits
        read = partial(readings, dtype=some.dtype, device=some.device)
        self._down = [[read(view.height, *span) for span in self.rows] for view in views]
        self._across = [[read(view.width, *span) for span in self.columns] for view in views]

    def _shape(self) -> tuple[int, int]:
        """Give height and width of a tile: as large as its maps may be where no product grows with it."""
        least = self.tiling.height, self.tiling.width
        if any(side.resized for view in self.views for side in (view.height, view.width)):
            return least
        fitting = isqrt(self.tiling.numbers // len(self.penalties))
        return max(least[0], fitting), max(least[1], fitting)

    def scores(self, row: int, column: int, classes: Chosen) -> Float[Tensor, "height chosen width"]:
        """Work out the scores of chosen classes in a tile: averaged over windows and views, penalties taken off."""
        total: Tensor | None = None
        for view, down, across in zip(self.views, self._down, self._across, strict=True):
            for y in down[row]:
                for x in across[column]:
                    part = view.windows[y.window, x.window].probabilities(y, x, classes)
                    if y.down is not None:
                        part = (y.down @ part.flatten(1)).unflatten(1, part.shape[1:])
                    if x.down is not None:
                        part = part @ x.down.mT
                    total = part if total is None else total.add_(part)
        assert total is not None
        if len(self.views) > 1:
            total /= len(self.views)
        return total.sub_(self.penalties[classes, None])

    def improve(
        self, values: Float[Tensor, "height width"], ids: Int64[Tensor, "height width"], *, first: int
    ) -> None:
        """Put in the best score and class of every pixel where it is better than what is there.

        `first` is the number of the first class here; of equal classes the one with the lowest number wins, as
        long as parts of the classes come in their order.
        """
        # On a CPU a tile needs so little that threads would wait for each other longer than they work.
        with threads_used(1) if values.device.type == "cpu" else nullcontext():
            chosen = self.chosen()
            for row, column in product(range(len(self.rows)), range(len(self.columns))):
                area = (slice(*self.rows[row]), slice(*self.columns[column]))
                for few in self._few(chosen[row][column], row, column):
                    found, best = self.scores(row, column, few).max(dim=1)
                    best = best + few.start if isinstance(few, slice) else few[best]
                    better = found > values[area]
                    values[area] = torch.where(better, found, values[area])
                    ids[area] = torch.where(better, best + first, ids[area])

    def _few(
        self, chosen: Int64[Tensor, " chosen"] | None, row: int, column: int
    ) -> list[Int64[Tensor, " some"] | slice]:
        """Cut the classes so that no map of their probabilities is larger than the tiling allows."""
        places = max(
            max(len(y.up) for y in down[row]) * max(len(x.up) for x in across[column])
            for down, across in zip(self._down, self._across, strict=True)
        )
        at_once = max(1, self.tiling.numbers // places)
        if chosen is None:
            number = len(self.penalties)
            return [slice(start, min(start + at_once, number)) for start in range(0, number, at_once)]
        return list(chosen.split(at_once))

    def chosen(self) -> list[list[Int64[Tensor, " chosen"] | None]]:
        """Give, by rows and columns of tiles, the classes that may win there; None stands for all."""
        softmax = any(
            window.normaliser is not None for view in self.views for window in view.windows.values()
        )
        alone = len(self.rows) == len(self.columns) == 1
        if softmax or alone or not self.tiling.bounded:
            return [[None] * len(self.columns) for _ in self.rows]
        # From [rows, classes, columns] to classes last, which makes those of a tile one stretch of memory.
        possible = self._possible().permute(0, 2, 1).contiguous()
        return [[tile.nonzero()[:, 0] for tile in row] for row in possible]

    def _possible(self) -> Bool[Tensor, "rows classes columns"]:
        """Say which classes can be the best somewhere in a tile.

        Resizing and averaging never leave the range of what they read, and the sigmoid keeps its order. So a
        tile's scores lie between those of the lowest and the highest logit that it reads, and a class whose
        highest score is below the lowest score of another one wins nowhere.
        """
        lowest, highest = (
            sum(part) / len(self.views)
            for part in zip(*map(self._bounds, range(len(self.views))), strict=True)
        )
        lowest, highest = (bound - self.penalties[:, None] for bound in (lowest, highest))
        # Not below, rather than above: scores that are not numbers rule nothing out.
        return ~(highest < lowest.amax(dim=1, keepdim=True) - ROUNDING)

    def _bounds(self, view: int) -> tuple[Tensor, Tensor]:
        """Give the lowest and the highest probability that a view has for a class in a tile."""
        down, across = self._down[view], self._across[view]
        shape = (len(down), len(self.penalties), len(across))
        lowest, highest = (
            self.penalties.new_full(shape, torch.inf),
            self.penalties.new_full(shape, -torch.inf),
        )
        for (y, x), window in self.views[view].windows.items():
            rows = [(i, one.cells) for i, row in enumerate(down) for one in row if one.window == y]
            columns = [(i, one.cells) for i, column in enumerate(across) for one in column if one.window == x]
            if rows and columns:
                area = (
                    slice(rows[0][0], rows[-1][0] + 1),
                    slice(None),
                    slice(columns[0][0], columns[-1][0] + 1),
                )
                cells = ([cells for _, cells in rows], [cells for _, cells in columns])
                lowest[area] = torch.minimum(lowest[area], -_highest(-window.logits, *cells))
                highest[area] = torch.maximum(highest[area], _highest(window.logits, *cells))
        return lowest.sigmoid(), highest.sigmoid()


def _highest(
    logits: Float[Tensor, "grid_height classes grid_width"], rows: Sequence[slice], columns: Sequence[slice]
) -> Float[Tensor, "tile_rows classes tile_columns"]:
    """Give the highest logit of every class within each of the spans of rows and columns."""
    down = torch.stack([logits[row].amax(dim=0) for row in rows])
    return torch.stack([down[..., column].amax(dim=-1) for column in columns], dim=-1)


def _cut(span: Span, step: int) -> list[Span]:
    first, last = span
    return list(pairwise([*range(first, last, step), last]))
