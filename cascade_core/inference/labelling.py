"""The best class of every pixel: the one inference that evaluation and prediction share.

A class's score is its probability at the mask's size (the *configured* size for square windows, as published),
less the seen penalty, resized to the window, averaged over windows, and resized to the picture. With
`evaluate.average` "logits", as published for the training-free methods, logits take this way, and become
probabilities at the picture's size.

The trunk processes windows of one or several pictures in batches, and only the windows' logits on the patch grid
are kept; `tiles.py` computes labels from them. To bound memory, a picture with very many windows is cut into
strips, and a very long list of classes into chunks with a running maximum; a model whose classes are coupled takes all
at once.

In mode "slide_and_whole" (CAT-Seg) every view has a second one beside it: the whole picture, which the model sees at the size
of a window. So its scores are the mean of the windows' and of the whole picture's.

With `evaluate.synonyms` "maximum" every synonym has a score of its own, and a class's is the maximum of its synonyms':
the class of the best vector is the best class, so that strips, chunks and tiles need not know of synonyms.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import ceil

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from cascade_core.configs.config import EvalConfig
from cascade_core.errors import UserError
from cascade_core.inference.background import with_background
from cascade_core.inference.refine import refined
from cascade_core.inference.resampling import Side, window_origins
from cascade_core.inference.strips import Limits, Strip, ViewBatch
from cascade_core.inference.tiles import ACCELERATOR, Span, Tiles, Tiling, cpu_tiling
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.model.segmentor import Segmentor


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
    threshold. With `evaluate.refine` scores are refined along the picture's edges first, and the pictures go through
    the trunk twice. A pixel where the score of any class is NaN gets class -1 and confidence -inf.
    """
    shape = (views[0].num_pictures, *size)
    values = torch.full(shape, -torch.inf, dtype=vocabulary.dtype, device=vocabulary.device)
    ids = torch.full(shape, -1, dtype=torch.int64, device=vocabulary.device)
    for picture, chunk, tiles in all_tiles(vocabulary, views, size=size, evaluate=evaluate, limits=limits):
        tiles.update_best(values[picture], ids[picture], first=chunk.start)
    if evaluate.refine == "pamr":
        # The tiles again, as keeping those of all chunks and strips would take the memory that these bound.
        again = all_tiles(vocabulary, views, size=size, evaluate=evaluate, limits=limits)
        values.masked_fill_(ids < 0, -torch.inf)
        pictures = _pictures(views, size, vocabulary.device)
        values, ids = refined(pictures, vocabulary.ids_of(ids), again, vocabulary.ids)
        return _with_confidence(vocabulary, values, ids, evaluate)
    return settled(vocabulary, values, ids, evaluate)


def settled(
    vocabulary: Vocabulary,
    values: Float[Tensor, "*shape"],
    vectors: Int64[Tensor, "*shape"],
    evaluate: EvalConfig,
) -> tuple[Int64[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Return classes and confidence as `best_classes` defines them, from each pixel's best score and its vector."""
    values = values.masked_fill_(vectors < 0, -torch.inf)
    return _with_confidence(vocabulary, values, vocabulary.ids_of(vectors), evaluate)


def _with_confidence(
    vocabulary: Vocabulary, values: Tensor, ids: Tensor, evaluate: EvalConfig
) -> tuple[Tensor, Tensor]:
    labels = with_background(values, ids, background=evaluate.background, num_classes=vocabulary.num_classes)
    return labels.masked_fill(ids < 0, -1), values.add_(vocabulary.class_penalties[ids])


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
    pixels = sum(view.num_pictures * view.size[0] * view.size[1] for view in views)
    views, sides = _seen(views, size, evaluate, vocabulary.segmentor)
    tiling = limits.tiling or default_tiling(vocabulary, sides)
    # In mode "whole" a view has a single window, which every strip would compute again.
    count = 1 if evaluate.mode == "whole" else ceil(pixels / limits.strip_pixels)
    for rows, columns in strips(size, count):
        yield from Strip(vocabulary, evaluate, limits, tiling, rows, columns).tiles(views, sides)


def _seen(
    views: Sequence[ViewBatch], size: tuple[int, int], evaluate: EvalConfig, segmentor: Segmentor
) -> tuple[list[ViewBatch], list[tuple[Side, Side]]]:
    """Return what the model sees of the views, and the geometry of each along height and width."""
    seen = [(view, picture_sides(view, size, evaluate, segmentor)) for view in views]
    if evaluate.mode == "slide_and_whole":
        square = (evaluate.crop_size, evaluate.crop_size)
        for view in views:
            height, width = _geometry(view, size, view.size, square, ((0,), (0,)), segmentor)
            seen.append((view.whole_in(square), (height, width)))
    return [view for view, _ in seen], [sides for _, sides in seen]


def default_tiling(vocabulary: Vocabulary, sides: Sequence[tuple[Side, Side]]) -> Tiling:
    """Return the tiling of the model's device for a picture with these views (height and width)."""
    on_cpu = vocabulary.device.type == "cpu"
    return cpu_tiling(sides, len(vocabulary)) if on_cpu else ACCELERATOR


def _pictures(
    views: Sequence[ViewBatch], size: tuple[int, int], device: torch.device
) -> Float[Tensor, "batch 3 {size[0]} {size[1]}"]:
    """Return the pictures at the size of their label maps, from the largest view that is not mirrored."""
    view = max((view for view in views if not view.mirrored), key=lambda view: view.size)
    images = view.crop(slice(0, view.size[0]), slice(0, view.size[1])).to(device)
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)


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


def picture_sides(
    view: ViewBatch, size: tuple[int, int], evaluate: EvalConfig, segmentor: Segmentor
) -> tuple[Side, Side]:
    """Return the windows' geometry along the height and the width of a view."""
    window = _window(view.size, evaluate)
    origins = [
        (0,) if evaluate.mode == "whole" else window_origins(side, evaluate.crop_size, evaluate.stride)
        for side in view.size
    ]
    return _geometry(view, size, window, window, origins, segmentor)


def _geometry(
    view: ViewBatch,
    size: tuple[int, int],
    window: tuple[int, int],
    seen: tuple[int, int],
    origins: Sequence[tuple[int, ...]],
    segmentor: Segmentor,
) -> tuple[Side, Side]:
    """Return the geometry of windows that the model sees at the size `seen`."""
    grid = segmentor.grid_of(seen)
    mask = segmentor.mask_size(torch.empty(1, 1, *grid, device="meta"), seen)
    height, width = (
        Side(
            target=size[i],
            view=view.size[i],
            window=window[i],
            mask=mask[i],
            grid=grid[i],
            origins=origins[i],
            mirrored=view.mirrored and i == 1,
        )
        for i in (0, 1)
    )
    return height, width
