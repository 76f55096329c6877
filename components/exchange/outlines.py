"""Outlines of the regions of a label map, along the edges of pixels, so that a polygon holds exactly its pixels.

A region is the pixels of one class that are connected by edges. GeoJSON gives it an outer ring and rings of its holes.
Formats with one ring for an object get the holes through slits of no width; readers that fill where a line crosses an
odd number of edges, as COCO's tools do, leave the holes out.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

Ring = Float[np.ndarray, "points 2"]
"""Corners (x, y), the last one joined to the first."""


def regions(label_map: Any, *, transform: Any = None) -> Iterator[tuple[int, list[Ring]]]:
    """Yield each region's id and rings, the outer one first, of an array of ids or a band of an open raster.

    Outer rings turn left and holes turn right where y points up, or all the other way round where it points down.
    `transform` maps pixels to coordinates; without it they are pixels, from the upper left corner of the first one.
    """
    from rasterio.features import shapes

    placed = {} if transform is None else {"transform": transform}
    for polygon, value in shapes(label_map, connectivity=4, **placed):
        yield (
            int(value),
            [_turned(np.array(ring)[:-1], left=not i) for i, ring in enumerate(polygon["coordinates"])],
        )


def one_ring(rings: Sequence[Ring]) -> Ring:
    """Join holes to the outer ring by level slits, each from a hole's leftmost corner to the next edge on its left.

    Holes are joined from left to right, so that this edge belongs to the ring already.
    """
    ring = rings[0]
    for hole in sorted(rings[1:], key=lambda hole: float(hole[:, 0].min())):
        hole = np.roll(hole, -int(np.lexsort((hole[:, 1], hole[:, 0]))[0]), axis=0)
        x, y = hole[0]
        ends = np.roll(ring, -1, axis=0)
        crosses = (
            (ring[:, 0] == ends[:, 0])
            & (ring[:, 0] <= x)
            & (np.minimum(ring[:, 1], ends[:, 1]) <= y)
            & (np.maximum(ring[:, 1], ends[:, 1]) >= y)
        )
        edge = int(np.where(crosses, ring[:, 0], -np.inf).argmax())
        slit = np.array([[ring[edge, 0], y]])
        ring = np.concatenate([ring[: edge + 1], slit, hole, hole[:1], slit, ring[edge + 1 :]])
    return ring


def _turned(ring: Ring, *, left: bool) -> Ring:
    x, y = ring.T
    turns_left = float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) > 0
    return ring if turns_left == left else ring[::-1]
