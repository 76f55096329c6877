"""The training loop: it yields a report per optimiser step, and neither prints nor saves."""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW

from cascade_core.batches.samples import Batch, PackedBatch
from cascade_core.configs.config import RunConfig
from cascade_core.errors import UserError
from cascade_core.losses.distillation import distillation_loss
from cascade_core.losses.focal_dice import LossParts, added, segmentation_loss
from cascade_core.model.queries import ClassVectors
from cascade_core.model.segmentor import Segmentor
from cascade_core.parallel import mean_over_processes, num_processes, seed_step
from cascade_core.train.optim import clip_gradients, set_learning_rates
from cascade_core.train.supervision import Supervision
from cascade_core.train.teachers import Teacher, distillation_teacher
from cascade_core.train.training_maps import TrainingMaps, data_parallel, half_precision, training_maps_of
from cascade_core.train.vector_noise import with_noise


@dataclass(frozen=True)
class StepReport:
    """The numbers of one optimiser step; `iteration` counts finished steps, from 1."""

    iteration: int
    total_iterations: int
    loss: float
    terms: dict[str, float]
    learning_rates: dict[str, float]
    images_per_second: float


def loss_curve_row(reports: Sequence[StepReport]) -> dict[str, float]:
    """Return one row of a loss curve: means of loss and terms over steps, and the last learning rates."""
    count = len(reports)
    return {
        "loss": sum(report.loss for report in reports) / count,
        **{name: sum(report.terms[name] for report in reports) / count for name in reports[0].terms},
        **{f"lr_{name}": rate for name, rate in reports[-1].learning_rates.items()},
    }


def train(
    segmentor: Segmentor,
    optimizer: AdamW,
    batches: Iterable[Batch | PackedBatch],
    *,
    config: RunConfig,
    supervision: Supervision,
    class_vectors: ClassVectors,
    start: int,
    total: int,
    device: torch.device,
    teacher: Teacher | None = None,
) -> Iterator[StepReport]:
    """Train from iteration `start` (finished steps) to `total`, yielding a report after every step.

    `batches` yields the micro-batches of the remaining steps in order. Between two reports model and optimiser are
    consistent, so the caller can save them. Under `parallel.connected` each process passes its own part of every
    micro-batch, and the reports are of the whole batch. Pseudo-labels come from `teacher`, or without one from the
    model itself; the teacher follows the model after every step. With `loss.distil_weight` the map of CLIP alone is
    part of the loss; nothing of it changes while training, so a checkpoint needs nothing for it.

    Raises:
        UserError: the loss is not finite; the message names the step, which updates nothing.
    """
    map_teacher = distillation_teacher(config, segmentor)
    model = data_parallel(segmentor.train(), training_maps_of(segmentor, config.train.compile, device))
    vectors = supervision.training_vectors(class_vectors).to(device)
    accumulation = config.train.accumulation_steps
    micro_batches = iter(batches)
    for iteration in range(start, total):
        began = time.perf_counter()
        seed_step(config.seed, iteration)
        set_learning_rates(optimizer, iteration, total, config.optim)
        optimizer.zero_grad(set_to_none=True)
        parts: list[dict[str, Tensor]] = []
        images = 0
        for position in range(accumulation):
            batch = next(micro_batches).to(device)
            with _averaging(model, last=position == accumulation - 1):
                loss_parts = _loss(
                    model,
                    segmentor,
                    batch,
                    vectors,
                    config=config,
                    supervision=supervision,
                    teacher=teacher,
                    map_teacher=map_teacher,
                )
                (loss_parts.total / accumulation).backward()
            parts.append({name: term.detach() for name, term in loss_parts.terms.items()})
            images += len(batch.images)
        terms = _mean_terms(parts)
        loss = sum(terms.values())
        if not math.isfinite(loss):
            numbers = ", ".join(f"{name} {term:g}" for name, term in terms.items())
            raise UserError(
                f"the loss is {loss} at step {iteration + 1} ({numbers}); lower the learning rates (optim.prompt_lr, "
                "optim.decoder_lr), check the text vectors and pictures for non-finite values, or start from the "
                "checkpoint before: this step updated nothing"
            )
        clip_gradients(optimizer, config.optim)
        optimizer.step()
        if teacher is not None:
            teacher.follow(segmentor)
        yield StepReport(
            iteration=iteration + 1,
            total_iterations=total,
            loss=loss,
            terms=terms,
            learning_rates={group["name"]: group["lr"] for group in optimizer.param_groups},
            images_per_second=images * num_processes() / (time.perf_counter() - began),
        )


def _averaging(model: TrainingMaps, *, last: bool) -> AbstractContextManager[None]:
    """Accumulate gradients inside each process, and average them over processes at the last micro-batch only."""
    if isinstance(model, DistributedDataParallel) and not last:
        return model.no_sync()
    return nullcontext()


def _mean_terms(parts: list[dict[str, Tensor]]) -> dict[str, float]:
    """Average each term over micro-batches and processes in float64; all processes get the same numbers."""
    stacked = torch.stack([torch.stack(list(terms.values())).double() for terms in parts])
    mean = mean_over_processes(stacked.mean(dim=0))
    return dict(zip(parts[0], mean.tolist(), strict=True))


def _loss(
    model: TrainingMaps,
    segmentor: Segmentor,
    batch: Batch,
    vectors: ClassVectors,
    *,
    config: RunConfig,
    supervision: Supervision,
    teacher: Teacher | None,
    map_teacher: Teacher | None,
) -> LossParts:
    mixed = config.train.precision == "bf16"
    with half_precision(batch.images.device, mixed):
        maps = model(batch.images, with_noise(vectors, config.train.vector_noise))
    grid_logits = segmentor.decoder.merged(maps)
    height, width = batch.images.shape[-2:]
    mask_size = segmentor.mask_size(grid_logits, (height, width))
    if teacher is None:
        labels = supervision.targets(batch, grid_logits, mask_size=mask_size)
    else:
        taught, size = teacher.grid_logits(batch.images, vectors, mixed=mixed)
        labels = supervision.targets(batch, taught, mask_size=size)
    parts = added(
        [
            segmentation_loss(one, labels, config.loss, mask_size=mask_size, unannotated=batch.unannotated)
            for one in maps
        ]
    )
    if map_teacher is None:
        return parts
    taught, _ = map_teacher.grid_logits(batch.images, vectors, mixed=mixed)
    # Of the map of inference: each decoder of a cascade is free to differ, if their sum does not.
    distance = distillation_loss(grid_logits, taught, batch.padding, patch_size=config.model.clip.patch_size)
    return LossParts({**parts.terms, "distillation": config.loss.distil_weight * distance})
