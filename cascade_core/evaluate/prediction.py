"""From pictures to label maps: whole or sliding-window scores, resized to the label's size, best class."""

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from cascade_core.config import EvalConfig
from cascade_core.data.datasets import Batch
from cascade_core.evaluate.background import with_background
from cascade_core.evaluate.sliding import Predict, slide


def predictions(
    predict: Predict,
    batches: Iterable[Batch],
    *,
    evaluate: EvalConfig,
    num_classes: int,
    device: torch.device,
) -> Iterator[tuple[Batch, Int64[Tensor, "batch label_height label_width"]]]:
    """Yield each batch with its predicted label maps, at the size of its labels and on the CPU."""
    for batch in batches:
        height, width = batch.labels.shape[-2:]
        yield (
            batch,
            label_maps(
                predict,
                batch.images.to(device),
                evaluate=evaluate,
                num_classes=num_classes,
                size=(height, width),
            ).cpu(),
        )


@torch.no_grad()
def label_maps(
    predict: Predict,
    images: Float[Tensor, "batch 3 height width"],
    *,
    evaluate: EvalConfig,
    num_classes: int,
    size: tuple[int, int],
) -> Int64[Tensor, "batch {size[0]} {size[1]}"]:
    """Predict the class of every pixel of pictures of one size, at the original `size`.

    `num_classes` counts the text vectors; background, by the policy of `evaluate`, has the id after the classes.
    The windows of `slide` go through the model `evaluate.batch_size` at a time.
    """
    match evaluate.mode:
        case "whole":
            scores = predict(images)
        case "slide":
            scores = torch.cat(
                [
                    slide(
                        predict,
                        image[None],
                        crop=evaluate.crop_size,
                        stride=evaluate.stride,
                        num_classes=num_classes,
                        window_batch=evaluate.batch_size,
                    )
                    for image in images
                ]
            )
    best_scores, best = resized_best(scores, size)
    return with_background(best_scores, best, background=evaluate.background, num_vectors=num_classes)


def resized_best(
    scores: Float[Tensor, "batch classes height width"],
    size: tuple[int, int],
    *,
    classes_at_once: int = 32,
) -> tuple[
    Float[Tensor, "batch {size[0]} {size[1]}"],
    Int64[Tensor, "batch {size[0]} {size[1]}"],
]:
    """Resize scores bilinearly and give the best one with its class, the first among equals.

    Works through the classes in parts, so that maps of all classes at the size of a large photograph never
    stand in memory together.
    """
    if tuple(scores.shape[-2:]) == size:
        values, ids = scores.max(dim=1)
        return values, ids
    best_scores, best = None, None
    for first in range(0, scores.shape[1], classes_at_once):
        part = scores[:, first : first + classes_at_once]
        values, ids = F.interpolate(part, size=size, mode="bilinear", align_corners=False).max(dim=1)
        if best_scores is None or best is None:
            best_scores, best = values, ids
        else:
            better = values > best_scores
            best = torch.where(better, ids + first, best)
            best_scores = torch.where(better, values, best_scores)
    assert best_scores is not None and best is not None
    return best_scores, best
