"""Score maps of all classes, joined from the tiles that label maps are computed from."""

import torch
from torch import Tensor

from cascade_core.configs.config import EvalConfig
from cascade_core.inference.label_maps import view_batch
from cascade_core.inference.labelling import all_tiles
from cascade_core.inference.strips import Limits
from cascade_core.inference.vocabulary import Vocabulary


@torch.no_grad()
def score_maps(
    vocabulary: Vocabulary,
    images: Tensor,
    *,
    evaluate: EvalConfig,
    size: tuple[int, int] | None = None,
    limits: Limits | None = None,
) -> Tensor:
    """Give the scores before the argmax, at `size` (None: the pictures' own): [batch, classes, height, width]."""
    height, width = images.shape[-2:] if size is None else size
    maps = torch.full((len(images), len(vocabulary), height, width), torch.nan, dtype=vocabulary.dtype)
    parts = all_tiles(
        vocabulary, [view_batch(images)], size=(height, width), evaluate=evaluate, limits=limits
    )
    for picture, chunk, tiles in parts:
        for row, (top, bottom) in enumerate(tiles.rows):
            for column, (left, right) in enumerate(tiles.columns):
                scores = tiles.scores(row, column, slice(0, chunk.stop - chunk.start))
                maps[picture, chunk, top:bottom, left:right] = scores.transpose(0, 1)
    return maps
