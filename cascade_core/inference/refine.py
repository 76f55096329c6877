"""Edges that follow the picture: pixel-adaptive mask refinement (PAMR, Araslanov & Roth 2020, section 3.3).

Every step replaces a class's score by a mean of the scores around it, with weights by the likeness of the colours.
"""

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from cascade_core.errors import UserError
from cascade_core.inference.tiles import Tiles

STEPS, DILATIONS = 10, (8, 16)
"""The setting with which NACLIP reports its best scores."""
SHARPNESS = 0.1
MOST_NUMBERS = 2**28
"""Limit on the numbers of the refined classes' maps of one picture."""


def refined(
    images: Float[Tensor, "batch 3 height width"],
    ids: Int64[Tensor, "batch height width"],
    tiles: Iterable[tuple[int, slice, Tiles]],
    ids_of_vectors: Int64[Tensor, " vectors"],
) -> tuple[Float[Tensor, "batch height width"], Int64[Tensor, "batch height width"]]:
    """Return the best refined score of every pixel and its class, among the classes that win a pixel unrefined.

    `images` are the pictures at the size of the label maps, normalised in any way; `tiles` are those of `all_tiles`,
    and `ids_of_vectors` the classes that their vectors stand for: the maximum over a class's vectors is refined.
    Pixels of no class (-1) stay so, with score -inf.

    Raises:
        UserError: the classes of the pictures have too many numbers for the memory.
    """
    present = [picture[picture >= 0].unique() for picture in ids]
    height, width = ids.shape[1:]
    if sum(map(len, present)) * height * width > MOST_NUMBERS:
        raise UserError(
            f"refining {max(map(len, present))} classes of a picture of {width} x {height} pixels needs too much memory; "
            "use a smaller picture, fewer labels, a smaller batch, or no --refine"
        )
    maps = [images.new_full((len(classes), height, width), -torch.inf) for classes in present]
    for picture, chunk, part in tiles:
        _fill(maps[picture], present[picture], ids_of_vectors[chunk], part)
    values = torch.full(ids.shape, -torch.inf, dtype=images.dtype, device=ids.device)
    best = torch.full_like(ids, -1)
    for index, image in enumerate(images):
        weights = likeness(image)
        for class_id, scores in zip(present[index], maps[index], strict=True):
            score = refine(scores, weights)
            better = (score > values[index]) & (ids[index] >= 0)
            values[index] = torch.where(better, score, values[index])
            best[index] = torch.where(better, class_id, best[index])
    return values, best


def _fill(
    maps: Tensor, classes: Int64[Tensor, " classes"], ids: Int64[Tensor, " chunk"], tiles: Tiles
) -> None:
    """Raise the classes' maps to the scores of the vectors of a chunk, whose classes are `ids`."""
    own = torch.isin(ids, classes).nonzero()[:, 0]
    if not len(own):
        return
    places = list(zip(own.tolist(), torch.searchsorted(classes, ids[own]).tolist(), strict=True))
    for row, (top, bottom) in enumerate(tiles.rows):
        for column, (left, right) in enumerate(tiles.columns):
            scores = tiles.scores(row, column, slice(0, len(ids)))
            for vector, place in places:
                area = maps[place, top:bottom, left:right]
                area.copy_(torch.maximum(area, scores[:, vector].to(area)))


def likeness(image: Float[Tensor, "3 height width"]) -> Float[Tensor, "neighbours height width"]:
    """Return each pixel's weights of its neighbours, 8 at each distance; they sum to 1.

    A weight is the softmax of -|difference| / (0.1 deviation of the neighbourhood), averaged over the channels, so that
    the scale of the colours does not matter.
    """
    neighbours = torch.stack(list(_neighbours(image)))
    # Of the neighbours' colours and, once for each distance, the pixel's own.
    deviation = torch.cat([neighbours, image.expand(len(DILATIONS), *image.shape)]).std(dim=0)
    scores = -(neighbours - image).abs().div_(1e-8 + SHARPNESS * deviation).mean(dim=1)
    return scores.softmax(dim=0)


def refine(
    scores: Float[Tensor, "height width"], weights: Float[Tensor, "neighbours height width"]
) -> Float[Tensor, "height width"]:
    """Return a class's scores after all steps."""
    for _ in range(STEPS):
        total = torch.zeros_like(scores)
        for weight, near in zip(weights, _neighbours(scores[None]), strict=True):
            total.addcmul_(weight, near[0])
        scores = total
    return scores


def _neighbours(maps: Float[Tensor, "maps height width"]) -> Iterator[Float[Tensor, "maps height width"]]:
    """Yield the maps moved by each distance in each of the 8 directions; the border repeats."""
    height, width = maps.shape[1:]
    for distance in DILATIONS:
        padded = F.pad(maps[None], [distance] * 4, mode="replicate")[0]
        for down in (0, distance, 2 * distance):
            for right in (0, distance, 2 * distance):
                if (down, right) != (distance, distance):
                    yield padded[:, down : down + height, right : right + width]
