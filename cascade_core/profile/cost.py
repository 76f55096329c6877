"""What a segmentor costs: parameters, multiply-adds, latency, throughput and memory."""

import statistics
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import psutil
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cascade_core.model.segmentor import Segmentor, trainable_parameter_count
from cascade_core.profile.reference import BATCH as REFERENCE_BATCH
from cascade_core.profile.reference import reference_network, reference_tokens


@dataclass(frozen=True)
class Speed:
    """Time of the forward pass at one batch size."""

    batch_size: int
    milliseconds_per_batch: float
    images_per_second: float


@dataclass(frozen=True)
class Cost:
    """The cost of one segmentor for pictures of one size and a given number of classes.

    `gmacs` are billions of multiply-adds for one picture, `gmacs_by_part` splits them into image tower,
    decoder and so on. Memory is what the process held at most beyond what it held before, in MiB.
    `relative_speed` is `images_per_second` over the reference network's, timed in turns with the model.
    """

    image_size: int
    num_classes: int
    trainable_params: int
    total_params: int
    gmacs: float
    gmacs_by_part: dict[str, float]
    speeds: tuple[Speed, ...]
    images_per_second: float
    relative_speed: float
    peak_memory_mib: float
    device: str
    threads: int


def multiply_adds(segmentor: Segmentor, *, image_size: int, num_classes: int) -> dict[str, float]:
    """Count the multiply-adds, in billions, of one picture by part, with their sum as 'total'.

    Convolutions, linear layers and matrix products count, attention's two included; norms, activations and
    upsampling do not. What the released code computes and throws away (values and feed-forward of the last
    decoder layer) is not computed here, so not counted. Nothing is run: shapes alone decide.
    """
    counted = deepcopy(segmentor).to("meta").requires_grad_(False).eval()
    images = torch.empty(1, 3, image_size, image_size, device="meta")
    vectors = torch.empty(num_classes, segmentor.config.clip.embed_dim, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False, depth=3) as counter:
        counted(images, vectors)
    # The counter counts a multiply-add as two operations.
    parts = {
        name: sum(operations.values()) / 2e9
        for name, operations in counter.get_flop_counts().items()
        if name in ("Segmentor.trunk", "Segmentor.decoder")
    }
    return {
        **{name.removeprefix("Segmentor."): count for name, count in parts.items()},
        "total": sum(parts.values()),
    }


@torch.no_grad()
def measure(
    segmentor: Segmentor,
    class_vectors: Float[Tensor, "classes embed"],
    *,
    image_size: int,
    batch_sizes: Sequence[int],
    device: torch.device,
    repeats: int = 5,
) -> Cost:
    """Measure the forward pass, mask logits at full size included, as medians of `repeats` after one warm-up.

    `images_per_second` is the best over the batch sizes.
    """
    parts = multiply_adds(segmentor, image_size=image_size, num_classes=len(class_vectors))
    segmentor = segmentor.to(device).eval()
    vectors = class_vectors.to(device)
    reference, tokens = reference_network(device), reference_tokens(device)
    baseline = _memory(device, reset=True)
    peak = baseline
    speeds, reference_times = [], []
    for batch_size in batch_sizes:
        images = torch.zeros(batch_size, 3, image_size, image_size, device=device)
        times = []
        for _ in range(repeats + 1):
            times.append(_seconds(partial(segmentor, images, vectors), device))
            peak = max(peak, _memory(device))
            reference_times.append(_seconds(partial(reference, tokens), device))
        median = statistics.median(times[1:])
        speeds.append(Speed(batch_size, 1e3 * median, batch_size / median))
    images_per_second = max(speed.images_per_second for speed in speeds)
    return Cost(
        image_size=image_size,
        num_classes=len(class_vectors),
        trainable_params=trainable_parameter_count(segmentor),
        total_params=sum(parameter.numel() for parameter in segmentor.parameters()),
        gmacs=parts.pop("total"),
        gmacs_by_part=parts,
        speeds=tuple(speeds),
        images_per_second=images_per_second,
        relative_speed=images_per_second * statistics.median(reference_times[1:]) / REFERENCE_BATCH,
        peak_memory_mib=peak - baseline,
        device=str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
        threads=torch.get_num_threads(),
    )


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    began = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _memory(device: torch.device, *, reset: bool = False) -> float:
    """Return MiB: the allocator's peak on a GPU, the process's resident set on a CPU."""
    if device.type == "cuda":
        if reset:
            torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.max_memory_allocated(device) / 2**20
    return psutil.Process().memory_info().rss / 2**20
