"""Time and multiply-adds by part of a model, from pictures to label maps."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cascade_core.model.segmentor import Segmentor
from cascade_core.profile.case import Case
from cascade_core.profile.cost import multiply_adds_by_part
from cascade_core.profile.meter import SCORING, UPSAMPLING, Meter, metered, wall_clock


@dataclass(frozen=True)
class PartCost:
    """Time and multiply-adds of one part for a batch."""

    name: str
    milliseconds: float
    gmacs: float


@dataclass(frozen=True)
class Breakdown:
    """The costs of a batch by part; `milliseconds` is the sum over the parts."""

    batch_size: int
    image_size: int
    milliseconds: float
    parts: tuple[PartCost, ...]


def breakdown(case: Case, images: Float[Tensor, "batch 3 height width"], *, repeats: int) -> Breakdown:
    """Return time and multiply-adds by part; times are of the run with the median total, so that they add up."""
    runs = []
    for _ in range(repeats):
        with metered(case.model, wall_clock(case.device)) as meter:
            _label(case, images, meter)
        runs.append(meter.by_part())
    seconds = sorted(runs, key=lambda run: sum(run.values()))[len(runs) // 2]
    # A segmentor's shapes do not depend on the pictures' content, so counting needs no real forward pass.
    device = torch.device("meta") if isinstance(case.model, Segmentor) else case.device
    gmacs = multiply_adds_by_part(case.model, images.to(device), case.class_vectors.to(device))
    parts = tuple(
        PartCost(name, 1e3 * seconds.get(name, 0.0), gmacs.get(name, 0.0))
        for name in dict.fromkeys([*seconds, *gmacs])
    )
    return Breakdown(case.batch_size, case.image_size, sum(part.milliseconds for part in parts), parts)


def _label(
    case: Case, images: Float[Tensor, "batch 3 height width"], meter: Meter
) -> Int64[Tensor, "batch height width"]:
    """Return label maps the plain way: upsample all classes to picture size, then sigmoid and argmax.

    The seen penalty of an inductive model, or softmax instead of sigmoid, costs about the same.
    """
    if not isinstance(case.model, Segmentor):
        scores = case.model(images, case.class_vectors)
        with meter.part(SCORING):
            return scores.argmax(dim=1)
    grid_logits = case.model.grid_logits(images, case.class_vectors)
    with meter.part(UPSAMPLING):
        logits = case.model.to_mask_size(grid_logits, (images.shape[-2], images.shape[-1]))
    with meter.part(SCORING):
        return logits.sigmoid_().argmax(dim=1)
