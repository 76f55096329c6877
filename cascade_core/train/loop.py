"""The training loop: yields a report per optimiser step; prints and saves nothing."""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import AdamW

from cascade_core.config import RunConfig
from cascade_core.data.datasets import Batch
from cascade_core.losses.focal_dice import LossParts, segmentation_loss
from cascade_core.model.segmentor import Segmentor
from cascade_core.train.optim import set_learning_rates
from cascade_core.train.supervision import Supervision


@dataclass(frozen=True)
class StepReport:
    """What one optimiser step did; `iteration` counts finished steps, from 1."""

    iteration: int
    total_iterations: int
    loss: float
    terms: dict[str, float]
    learning_rates: dict[str, float]
    images_per_second: float


def train(
    segmentor: Segmentor,
    optimizer: AdamW,
    batches: Iterable[Batch],
    *,
    config: RunConfig,
    supervision: Supervision,
    class_vectors: Float[Tensor, "classes embed"],
    start: int,
    total: int,
    device: torch.device,
) -> Iterator[StepReport]:
    """Train from iteration `start` (finished steps) to `total`, yielding a report after every step.

    `batches` yields the micro-batches of the remaining steps in order. Stopping the iteration between two
    reports leaves model and optimiser at a step's end, ready to be saved.

    Raises:
        FloatingPointError: the loss is not finite; the step is named and nothing is updated.
    """
    segmentor.train()
    vectors = supervision.training_vectors(class_vectors).to(device)
    accumulation = config.train.accumulation_steps
    micro_batches = iter(batches)
    for iteration in range(start, total):
        began = time.perf_counter()
        set_learning_rates(optimizer, iteration, total, config.optim)
        optimizer.zero_grad(set_to_none=True)
        terms: dict[str, float] = {}
        images = 0
        for _ in range(accumulation):
            batch = next(micro_batches).to(device)
            parts = _forward(segmentor, batch, vectors, config=config, supervision=supervision)
            (parts.total / accumulation).backward()
            images += len(batch.images)
            for name, term in parts.terms.items():
                terms[name] = terms.get(name, 0.0) + term.item() / accumulation
        loss = sum(terms.values())
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"loss is {loss} at step {iteration + 1} ({terms}); lower the learning rates "
                "or check the text vectors and pictures for non-finite values"
            )
        optimizer.step()
        yield StepReport(
            iteration=iteration + 1,
            total_iterations=total,
            loss=loss,
            terms=terms,
            learning_rates={group["name"]: group["lr"] for group in optimizer.param_groups},
            images_per_second=images / (time.perf_counter() - began),
        )


def _forward(
    segmentor: Segmentor,
    batch: Batch,
    vectors: Float[Tensor, "classes embed"],
    *,
    config: RunConfig,
    supervision: Supervision,
) -> LossParts:
    mixed = config.train.precision == "bf16"
    with torch.autocast(batch.images.device.type, dtype=torch.bfloat16) if mixed else nullcontext():
        mask_logits = segmentor(batch.images, vectors)
    labels = supervision.view(batch, mask_logits)
    return segmentation_loss(mask_logits, labels, config.loss)
