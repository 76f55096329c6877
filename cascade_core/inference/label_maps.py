"""Label maps of evaluation's batches and of photographs as they are: two ways to show pictures to one inference."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int32, Int64, UInt8
from torch import Tensor

from cascade_core.batches.samples import Batch
from cascade_core.batches.transforms import Channels, normalise
from cascade_core.configs.config import EvalConfig
from cascade_core.errors import UserError
from cascade_core.inference.labelling import Limits, Shown, best_classes, check_sizes
from cascade_core.inference.views import View
from cascade_core.inference.vocabulary import Vocabulary

Picture = UInt8[np.ndarray, "height width 3"]


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

    Background, by the policy of `evaluate`, has the id after the text vectors of classes.
    """
    return best_classes(vocabulary, [shown(images)], size=size, evaluate=evaluate, limits=limits).classes


def shown(images: Float[Tensor, "batch 3 height width"]) -> Shown:
    """Show normalised pictures as they are."""
    height, width = images.shape[-2:]
    return Shown((height, width), len(images), lambda rows, columns: images[..., rows, columns])


@dataclass(frozen=True)
class Labelled:
    """For each photograph the best class of every pixel, and the probability the model gives it."""

    classes: Int32[np.ndarray, "batch height width"]
    confidence: Float32[np.ndarray, "batch height width"]


def labelled(
    vocabulary: Vocabulary,
    pictures: Sequence[Picture],
    *,
    views: Sequence[View],
    evaluate: EvalConfig,
    mean: Channels,
    std: Channels,
    limits: Limits | None = None,
) -> Labelled:
    """Label photographs of one size, at that size, by the average over views of what evaluation would score.

    What a view shows is mirrored back and resized bilinearly to the photographs' own size; the rest is as in
    `best_classes`.

    Raises:
        UserError: a view is too large, or the model's scores are not numbers.
    """
    size = pictures[0].shape[0], pictures[0].shape[1]
    patch_size = vocabulary.segmentor.config.clip.patch_size
    sizes = [view.size(size, short_side=evaluate.short_side, patch_size=patch_size) for view in views]
    check_sizes(sizes, evaluate, patch_size, limits or Limits())
    seen = [
        _as_shown([view.of(picture, seen) for picture in pictures], mean, std, mirrored=view.mirrored)
        for view, seen in zip(views, sizes, strict=True)
    ]
    best = best_classes(vocabulary, seen, size=size, evaluate=evaluate, limits=limits)
    classes, confidence = best.classes.int().cpu().numpy(), best.confidence.float().cpu().numpy()
    if broken := np.count_nonzero(classes < 0):
        raise UserError(
            f"the model's scores are not numbers at {broken:,} of {classes.size:,} pixels; its weights or text vectors "
            "hold some that are not: train or convert it anew"
        )
    return Labelled(classes, confidence)


def _as_shown(pictures: Sequence[Picture], mean: Channels, std: Channels, *, mirrored: bool) -> Shown:
    """Show pictures that are held with 8 bits a channel, and normalised where the model looks."""

    def crop(rows: slice, columns: slice) -> Tensor:
        return torch.stack([normalise(picture[rows, columns], mean, std) for picture in pictures])

    height, width = pictures[0].shape[:2]
    return Shown((height, width), len(pictures), crop, mirrored)
