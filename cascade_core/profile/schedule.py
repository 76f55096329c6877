"""The cost of a training step and of labelling a picture, on random tensors of the real size with random weights.

A CPU's time and memory grow linearly with the batch, so small batches are measured there and extended; a GPU needs the
real batch.
"""

import itertools
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import psutil
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from cascade_core.batches.samples import Batch
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import RunConfig
from cascade_core.configs.settings import TrainedSetting
from cascade_core.inference.label_maps import label_maps
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.model.build import build_segmentor
from cascade_core.profile.case import seconds_of
from cascade_core.profile.memory import MIB, peak_memory
from cascade_core.train.loop import train
from cascade_core.train.optim import build_optimizer
from cascade_core.train.supervision import Supervision

SMALL_BATCHES = (1, 2)
TIMED_SECONDS = 2.0
"""Steps are timed until they add up to this time; at least one is."""
MOST_STEPS = 10**6
OPTIMIZER_COPIES = 2
"""AdamW keeps two moments of each weight that trains."""


@dataclass(frozen=True)
class Sample:
    """A measured batch: seconds of a step or picture, and the process's peak memory in bytes (on a GPU: the GPU's)."""

    batch: int
    seconds: float
    memory: float


@dataclass(frozen=True)
class Weights:
    """Bytes of a checkpoint (`model`), and of the optimiser's state beside it in a resume checkpoint."""

    model: int
    optimizer: int


def batches_to_measure(batch: int, device: torch.device) -> tuple[int, ...]:
    """Return the batch sizes to measure for a batch: on a CPU at most two small ones, on a GPU the batch itself."""
    small = tuple(size for size in SMALL_BATCHES if size <= batch)
    return (batch,) if device.type == "cuda" else small


def extended(samples: Sequence[Sample], batch: int) -> Sample:
    """Extend measured batches to another one on the straight line through the first and the last of them."""
    first, last = samples[0], samples[-1]
    if first.batch == last.batch:
        return Sample(batch, first.seconds * batch / first.batch, first.memory)
    steps = (batch - first.batch) / (last.batch - first.batch)
    seconds = first.seconds + steps * max(last.seconds - first.seconds, 0.0)
    return Sample(batch, seconds, first.memory + steps * max(last.memory - first.memory, 0.0))


def training_step(
    config: RunConfig, setting: TrainedSetting, device: torch.device, *, batches: Sequence[int]
) -> tuple[list[Sample], Weights]:
    """Measure steps of the training loop for each number of pictures, in one micro-batch.

    Raises:
        torch.OutOfMemoryError: a batch does not fit into the GPU's memory.
    """
    segmentor = build_segmentor(config.model, VisionTransformer(config.model.clip), seed=0).to(device)
    trainable = [weights for weights in segmentor.parameters() if weights.requires_grad]
    weights = Weights(
        model=_bytes(segmentor.state_dict().values()), optimizer=OPTIMIZER_COPIES * _bytes(trainable)
    )
    optimizer = build_optimizer(segmentor, config.optim)
    once = config.model_copy(update={"train": config.train.model_copy(update={"accumulation_steps": 1})})
    samples: list[Sample] = []
    for size in batches:
        steps = train(
            segmentor,
            optimizer,
            itertools.repeat(_random_batch(config, size)),
            config=once,
            supervision=Supervision(setting, config.data.split, config.self_train.strict_seen_penalty),
            class_vectors=_random_vectors(config),
            start=0,
            total=MOST_STEPS,
            device=device,
        )
        if not samples or device.type == "cuda":
            next(steps)  # loads libraries, makes the optimiser's state
        samples.append(_sample(size, partial(next, steps), device))
    return samples, weights


@torch.no_grad()
def labelling(config: RunConfig, device: torch.device, *, size: tuple[int, int]) -> Sample:
    """Measure the labelling of one picture of `size` (height, width) as evaluation does it."""
    segmentor = build_segmentor(config.model, VisionTransformer(config.model.clip), seed=0).to(device).eval()
    vocabulary = Vocabulary(
        segmentor,
        _random_vectors(config).to(device),
        config.loss.kind,
        seen=config.data.split.seen,
        seen_penalty=config.evaluate.seen_penalty,
    )
    height, width = size
    factor = 1 if config.evaluate.short_side is None else config.evaluate.short_side / min(size)
    images = torch.randn(1, 3, round(height * factor), round(width * factor)).to(device)

    def once() -> None:
        label_maps(vocabulary, images, evaluate=config.evaluate, size=size)

    once()
    return _sample(1, once, device)


def _random_batch(config: RunConfig, size: int) -> Batch:
    side, classes = config.data.crop_size, config.data.split.num_classes
    generator = torch.Generator().manual_seed(0)
    regions = torch.randint(classes, (size, 1, 4, 4), generator=generator).float()
    labels = F.interpolate(regions, size=(side, side), mode="nearest")[:, 0].long()
    images = torch.randn(size, 3, side, side, generator=generator)
    return Batch(("",) * size, images, labels, torch.zeros_like(labels, dtype=torch.bool))


def _random_vectors(config: RunConfig) -> Float[Tensor, "classes embed"]:
    generator = torch.Generator().manual_seed(0)
    shape = (config.data.split.num_classes, config.model.clip.embed_dim)
    return F.normalize(torch.randn(shape, generator=generator), dim=-1)


def _sample(batch: int, call: Callable[[], object], device: torch.device) -> Sample:
    """Call until `TIMED_SECONDS` have passed, the first time with its peak memory; return the median time."""
    held = _held(device)
    times: list[float] = []

    def timed() -> None:
        times.append(seconds_of(call, device))

    growth, _ = peak_memory(timed, device)
    while sum(times) < TIMED_SECONDS:
        timed()
    return Sample(batch, statistics.median(times), held + growth * MIB)


def _held(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return int(psutil.Process().memory_info().rss)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
