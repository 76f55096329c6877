"""Where the time and the multiply-adds go, from pictures to label maps."""

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
    """What one part takes of a batch."""

    name: str
    milliseconds: float
    gmacs: float


@dataclass(frozen=True)
class Breakdown:
    """From a batch of pictures to label maps, by part; `milliseconds` is the sum of the parts'."""

    batch_size: int
    image_size: int
    milliseconds: float
    parts: tuple[PartCost, ...]


def breakdown(case: Case, images: Float[Tensor, "batch 3 height width"], *, repeats: int) -> Breakdown:
    """Time the parts and count their multiply-adds.

    The times are those of one run, the one that took the median of `repeats`, so that they add up.
    """
    runs = []
    for _ in range(repeats):
        with metered(case.model, wall_clock(case.device)) as meter:
            _label(case, images, meter)
        runs.append(meter.spent())
    spent = sorted(runs, key=lambda run: sum(run.values()))[len(runs) // 2]
    counted = _multiply_adds(case, images)
    parts = tuple(
        PartCost(name, 1e3 * spent.get(name, 0.0), counted.get(name, 0.0))
        for name in dict.fromkeys([*spent, *counted])
    )
    return Breakdown(case.batch_size, case.image_size, sum(part.milliseconds for part in parts), parts)


def _label(
    case: Case, images: Float[Tensor, "batch 3 height width"], meter: Meter
) -> Int64[Tensor, "batch height width"]:
    """Return label maps, plainly: maps of all classes at picture size, their sigmoid, the best class.

    An inductive model's penalty, or a softmax in the sigmoid's place, would cost about the same.
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


def _multiply_adds(case: Case, images: Float[Tensor, "batch 3 height width"]) -> dict[str, float]:
    # A segmentor's shapes are the same whatever is in a picture, so that nothing need be run.
    where = torch.device("meta") if isinstance(case.model, Segmentor) else case.device
    return multiply_adds_by_part(case.model, images.to(where), case.class_vectors.to(where))
