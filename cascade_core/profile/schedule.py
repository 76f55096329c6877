"""The cost of a training step and of labelling a picture, on random tensors of the real size with random weights.

A CPU's time and memory grow with the pictures of a batch, so one picture is measured there, once, and multiplied: at full
size a step takes many seconds. A GPU needs the real batch, and a step to warm up.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_core.batches.samples import Batch
from cascade_core.batches.transforms import seen_size
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import RunConfig
from cascade_core.configs.settings import TrainedSetting
from cascade_core.inference.label_maps import label_maps
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.model.build import build_segmentor
from cascade_core.profile.case import seconds_of
from cascade_core.profile.memory import MIB, peak_memory
from cascade_core.profile.random_classes import random_classes
from cascade_core.train.loop import train
from cascade_core.train.optim import build_optimizer
from cascade_core.train.supervision import Supervision
from cascade_core.train.teachers import teacher_of

TIMED_SECONDS = 2.0
"""Steps are timed until they add up to this time; at least one is."""
MOST_STEPS = 10**6
OPTIMIZER_COPIES = 2
"""AdamW keeps two moments of each weight that trains."""


@dataclass(frozen=True)
class Sample:
    """A measured batch: seconds of a step or picture, and the process's peak memory in bytes (on a GPU: the GPU's).

    `fixed` is the part of the memory that does not grow with the batch. `share` is the part of its threads' time that this
    process got on a CPU: below 1, other programs computed too (or some work has one thread only).
    """

    batch: int
    seconds: float
    memory: float
    fixed: float = 0.0
    share: float = 1.0

    def of(self, batch: int) -> "Sample":
        """Return the sample of another batch: time and memory, without the fixed part, grow with its pictures."""
        pictures = batch / self.batch
        memory = self.fixed + pictures * (self.memory - self.fixed)
        return replace(self, batch=batch, seconds=pictures * self.seconds, memory=memory)


@dataclass(frozen=True)
class Weights:
    """Bytes of a checkpoint (`model`), and of the optimiser's state beside it in a resume checkpoint."""

    model: int
    optimizer: int


def batch_to_measure(batch: int, device: torch.device) -> int:
    """Return the batch to measure for a batch: on a CPU one picture, on a GPU the batch itself."""
    return batch if device.type == "cuda" else 1


def training_step(
    config: RunConfig, setting: TrainedSetting, device: torch.device, *, batch: int
) -> tuple[Sample, Weights]:
    """Measure a step of the training loop with this many pictures, in one micro-batch.

    On a CPU it is the first step. Gradients and the optimiser's state come after its peak, and are added; later steps hold
    them all the time.

    Raises:
        torch.OutOfMemoryError: the batch does not fit into the GPU's memory.
    """
    segmentor = build_segmentor(config.model, VisionTransformer(config.model.clip), seed=0).to(device)
    trainable = [weights for weights in segmentor.parameters() if weights.requires_grad]
    weights = Weights(
        model=_bytes(segmentor.state_dict().values()), optimizer=OPTIMIZER_COPIES * _bytes(trainable)
    )
    once = config.model_copy(update={"train": config.train.model_copy(update={"accumulation_steps": 1})})
    steps = train(
        segmentor,
        build_optimizer(segmentor, config.optim),
        itertools.repeat(_random_batch(config, batch)),
        config=once,
        supervision=Supervision.of(config, setting, config.data.split),
        class_vectors=random_classes(config, config.data.split.num_classes),
        start=0,
        total=MOST_STEPS,
        device=device,
        teacher=teacher_of(config, setting, segmentor),
    )
    if device.type == "cuda":
        next(steps)  # loads libraries, makes the optimiser's state
    sample = _sample(batch, partial(next, steps), device)
    if device.type != "cuda":
        kept = float(weights.optimizer + _bytes(trainable))
        sample = replace(sample, memory=sample.memory + kept, fixed=sample.fixed + kept)
    return sample, weights


@torch.no_grad()
def labelling(config: RunConfig, device: torch.device, *, size: tuple[int, int]) -> Sample:
    """Measure the labelling of one picture of `size` (height, width) as evaluation does it."""
    segmentor = build_segmentor(config.model, VisionTransformer(config.model.clip), seed=0).to(device).eval()
    vocabulary = Vocabulary(
        segmentor,
        random_classes(config, config.data.split.num_classes).to(device),
        config.loss.score_function,
        seen=config.data.split.seen,
        seen_penalty=config.evaluate.seen_penalty,
    )
    seen = seen_size(size, config.evaluate.short_side, keep_ratio=config.evaluate.keep_ratio)
    images = torch.randn(1, 3, *seen).to(device)

    def once() -> None:
        label_maps(vocabulary, images, evaluate=config.evaluate, size=size)

    if device.type == "cuda":
        once()
    return _sample(1, once, device)


def _random_batch(config: RunConfig, size: int) -> Batch:
    side, classes = config.data.crop_size, config.data.split.num_classes
    generator = torch.Generator().manual_seed(0)
    regions = torch.randint(classes, (size, 1, 4, 4), generator=generator).float()
    labels = F.interpolate(regions, size=(side, side), mode="nearest")[:, 0].long()
    images = torch.randn(size, 3, side, side, generator=generator)
    return Batch(("",) * size, images, labels, torch.zeros_like(labels, dtype=torch.bool))


def _sample(batch: int, call: Callable[[], object], device: torch.device) -> Sample:
    """Call until `TIMED_SECONDS` have passed, the first time with its peak memory; return the median time."""
    held = _held(device)
    times: list[float] = []

    def timed() -> None:
        times.append(seconds_of(call, device))

    before = time.process_time()
    growth, _ = peak_memory(timed, device)
    while sum(times) < TIMED_SECONDS:
        timed()
    share = 1.0
    if device.type == "cpu":
        share = min(1.0, (time.process_time() - before) / (sum(times) * torch.get_num_threads()))
    return Sample(batch, statistics.median(times), held + growth * MIB, held, share)


def _held(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.memory_allocated(device))
    return float(psutil.Process().memory_info().rss)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
