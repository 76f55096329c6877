"""One model at one batch and picture size: its forward pass, timed, and its peak memory."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cascade_core.model.queries import ClassVectors
from cascade_core.model.segmentor import Segmentor
from cascade_core.profile.memory import peak_memory


@dataclass(frozen=True)
class Subject:
    """A model to measure; it maps normalised pictures and class vectors to maps of all classes at picture size.

    `image_size` is the model's own picture size; picture sizes must be multiples of `patch_size`.
    """

    name: str
    model: nn.Module
    class_vectors: ClassVectors
    image_size: int
    patch_size: int

    def at(self, image_size: int) -> nn.Module:
        """Return the model for another picture size; it shares the weights and resizes its position grid per call."""
        if not isinstance(self.model, Segmentor):
            return self.model
        sized = copy.copy(self.model)
        sized.config = sized.config.model_copy(update={"image_size": image_size})
        return sized


@dataclass(frozen=True)
class Speed:
    """Median, quartiles and peak memory of the forward pass in one case; None if the GPU ran out of memory."""

    batch_size: int
    image_size: int
    milliseconds_per_batch: float | None = None
    milliseconds_quartiles: tuple[float, float] | None = None
    images_per_second: float | None = None
    peak_memory_mib: float | None = None


@dataclass
class Case:
    """A subject at one batch and picture size, with the measurements of its runs so far."""

    subject: Subject
    batch_size: int
    image_size: int
    device: torch.device
    seconds: list[float] = field(default_factory=list)
    peak_memory_mib: float = 0.0
    measured_by: str = ""
    out_of_memory: bool = False

    def __post_init__(self) -> None:
        self.model = self.subject.at(self.image_size)
        self.class_vectors = self.subject.class_vectors.to(self.device)

    def images(self) -> Float[Tensor, "batch 3 height width"]:
        """Return the same smooth random pictures in every call: a two-stage model's cost depends on their content."""
        generator = torch.Generator().manual_seed(0)
        coarse = torch.randn(self.batch_size, 3, 16, 16, generator=generator).to(self.device)
        return F.interpolate(coarse, size=(self.image_size, self.image_size), mode="bilinear")

    def attempt(self, work: Callable[[Tensor], None]) -> None:
        """Call `work` with the pictures; skip it once the GPU has run out of memory."""
        if self.out_of_memory:
            return
        try:
            work(self.images())
        except torch.OutOfMemoryError:
            self.out_of_memory = True
        if self.out_of_memory:
            # Outside the except block: inside, the traceback keeps the tensors alive.
            torch.cuda.empty_cache()

    def measure_memory(self, images: Float[Tensor, "batch 3 height width"]) -> None:
        """Warm up (load libraries, choose kernels), then record the peak memory of a forward pass."""
        self.model(images, self.class_vectors)
        work = partial(self.model, images, self.class_vectors)
        self.peak_memory_mib, self.measured_by = peak_memory(work, self.device)

    def measure_time(self, images: Float[Tensor, "batch 3 height width"]) -> None:
        """Record the seconds of a forward pass."""
        self.seconds.append(seconds_of(lambda: self.model(images, self.class_vectors), self.device))

    def speed(self) -> Speed:
        if self.out_of_memory:
            return Speed(self.batch_size, self.image_size)
        low, median, high = np.quantile(self.seconds, (0.25, 0.5, 0.75)).tolist()
        return Speed(
            self.batch_size,
            self.image_size,
            milliseconds_per_batch=1e3 * median,
            milliseconds_quartiles=(1e3 * low, 1e3 * high),
            images_per_second=self.batch_size / median,
            peak_memory_mib=self.peak_memory_mib,
        )


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """Time a call, including its work on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
