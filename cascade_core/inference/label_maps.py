"""Label maps of evaluation's batches and of photographs: two sources of pictures for one inference."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Int32, Int64
from torch import Tensor

from cascade_core.batches.samples import Batch
from cascade_core.batches.transforms import Channels, normalise
from cascade_core.configs.config import EvalConfig
from cascade_core.errors import UserError
from cascade_core.inference.labelling import best_classes, check_sizes
from cascade_core.inference.strips import Limits, ViewBatch
from cascade_core.inference.views import Picture, View
from cascade_core.inference.vocabulary import Vocabulary


def predictions(
    vocabulary: Vocabulary, batches: Iterable[Batch], *, evaluate: EvalConfig
) -> Iterator[tuple[Batch, Int64[Tensor, "batch label_height label_width"]]]:
    """Yield each batch with its predicted label maps at the size of its labels, both on the model's device."""
    for batch in batches:
        here = batch.to(vocabulary.device)
        height, width = here.labels.shape[-2:]
        yield here, label_maps(vocabulary, here.images, evaluate=evaluate, size=(height, width))


def label_maps(
    vocabulary: Vocabulary,
    images: Float[Tensor, "batch 3 height width"],
    *,
    evaluate: EvalConfig,
    size: tuple[int, int],
    limits: Limits | None = None,
) -> Int64[Tensor, "batch {size[0]} {size[1]}"]:
    """Predict the class of every pixel of normalised pictures of one size, at the original `size`.

    Background, by the policy of `evaluate`, has the id after the classes.
    """
    views = [view_batch(images)]
    return best_classes(vocabulary, views, size=size, evaluate=evaluate, limits=limits)[0]


def view_batch(images: Float[Tensor, "batch 3 height width"]) -> ViewBatch:
    """Return the one unscaled view of normalised pictures."""
    height, width = images.shape[-2:]
    return ViewBatch((height, width), len(images), lambda rows, columns: images[..., rows, columns])


def label_photographs(
    vocabulary: Vocabulary,
    pictures: Sequence[Picture],
    *,
    views: Sequence[View],
    evaluate: EvalConfig,
    mean: Channels,
    std: Channels,
    limits: Limits | None = None,
) -> tuple[Int32[np.ndarray, "batch height width"], Float32[np.ndarray, "batch height width"]]:
    """Label photographs of one size at that size; return classes and confidence as `best_classes` defines them.

    Scores are evaluation's, averaged over the views; scores of mirrored views are mirrored back first.

    Raises:
        UserError: a view is too large, or the model's scores are NaN.
    """
    size = pictures[0].shape[0], pictures[0].shape[1]
    patch_size = vocabulary.segmentor.config.clip.patch_size
    sizes = [
        view.size(size, short_side=evaluate.short_side, patch_size=patch_size, keep_ratio=evaluate.keep_ratio)
        for view in views
    ]
    check_sizes(sizes, evaluate, patch_size, limits or Limits())
    batches = [
        _photograph_batch([view.of(picture, at) for picture in pictures], mean, std, mirrored=view.mirrored)
        for view, at in zip(views, sizes, strict=True)
    ]
    best, probability = best_classes(vocabulary, batches, size=size, evaluate=evaluate, limits=limits)
    classes, confidence = best.int().cpu().numpy(), probability.float().cpu().numpy()
    if broken := np.count_nonzero(classes < 0):
        raise UserError(
            f"the model's scores are not numbers at {broken:,} of {classes.size:,} pixels, because its weights or "
            "text vectors hold NaN; train or convert it anew"
        )
    return classes, confidence


def _photograph_batch(
    pictures: Sequence[Picture], mean: Channels, std: Channels, *, mirrored: bool
) -> ViewBatch:
    """Return a view of 8-bit pictures, which normalises only the crop that the model needs."""

    def crop(rows: slice, columns: slice) -> Tensor:
        return torch.stack([normalise(picture[rows, columns], mean, std) for picture in pictures])

    height, width = pictures[0].shape[:2]
    return ViewBatch((height, width), len(pictures), crop, mirrored)
