"""The time, memory and disk that a reproduction will take on this device, from a few measured steps."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cascade_core.configs.config import RunConfig
from cascade_core.configs.settings import TrainedSetting, transductive
from cascade_core.data.prepared import read_index, rows_of_split
from cascade_core.datasets.data_set import DataSet
from cascade_core.errors import UserError
from cascade_core.profile.schedule import (
    Sample,
    Weights,
    batch_to_measure,
    labelling,
    training_step,
)
from cascade_core.runtime.machine_memory import usable_memory
from cascade_core.runtime.targets import nearest_existing
from components.progress import duration, progress
from pipelines.workstation.reproduction import SELF_TRAINING, SPLIT, Inputs

GIB = 2**30
TYPICAL_SIZE = (375, 500)
"""Height and width of a picture of these data sets, for a plan before the data are at hand."""
RESUME_CHECKPOINTS = 2
BUSY = 0.7
"""Below this share of its cores' time, the measured process had company."""


@dataclass(frozen=True)
class Phase:
    """A training or an evaluation: its number of steps (pictures, for an evaluation) and the cost of one."""

    name: str
    steps: int
    step: Sample
    accumulation: int = 1

    @property
    def seconds(self) -> float:
        return self.steps * self.accumulation * self.step.seconds


@dataclass(frozen=True)
class Estimate:
    """What a reproduction will take; `wanted_accumulation` is None if the configured batch fits or nothing helps."""

    phases: tuple[Phase, ...]
    num_seeds: int
    weights: Weights | None
    num_checkpoints: int
    memory_there: int
    disk_there: int
    device: str
    method: str
    wanted_accumulation: int | None = None

    @property
    def seconds(self) -> float:
        return self.num_seeds * sum(phase.seconds for phase in self.phases)

    @property
    def seconds_alone(self) -> float:
        """The time without other programs, if each thread had a core for itself."""
        return self.num_seeds * sum(phase.seconds * phase.step.share for phase in self.phases)

    @property
    def memory(self) -> float:
        return max(phase.step.memory for phase in self.phases)

    @property
    def disk(self) -> int:
        """Bytes of all checkpoints: those that stay, and the resume checkpoints of the training that runs."""
        if self.weights is None:
            return 0
        kept = self.num_seeds * self.num_checkpoints * self.weights.model
        return kept + RESUME_CHECKPOINTS * (self.weights.model + self.weights.optimizer)

    def lines(self) -> Iterator[str]:
        """Yield the lines of the plan: time by phase, memory, disk, and how they were estimated."""
        parts = ", ".join(f"{phase.name} {duration(phase.seconds)}" for phase in self.phases)
        seeds = "1 seed" if self.num_seeds == 1 else f"{self.num_seeds} seeds one after the other"
        busy = self.seconds_alone < BUSY * self.seconds
        alone = f"; about {duration(self.seconds_alone)} without other programs' load" if busy else ""
        yield f"time     {duration(self.seconds)} for {seeds}; each: {parts}{alone}"
        fits = "fits" if self.memory <= self.memory_there else "DOES NOT FIT"
        advice = (
            f"; add --set train.accumulation_steps={self.wanted_accumulation}"
            if self.wanted_accumulation
            else ""
        )
        yield f"memory   {_gib(self.memory)} of {_gib(self.memory_there)} on {self.device}: {fits}{advice}"
        fits = "fits" if self.disk <= self.disk_there else "DOES NOT FIT"
        yield f"disk     {_gib(self.disk)} for checkpoints, {_gib(self.disk_there)} free: {fits}"
        yield f"how      {self.method}"


def estimate(
    config: RunConfig,
    data_set: DataSet,
    inputs: Inputs,
    *,
    num_seeds: int,
    self_training: bool,
    processes: int,
    device: torch.device,
    out: Path,
    trains: bool = True,
) -> Estimate:
    """Measure a step of each training and the labelling of a picture, and extend them to the whole schedule.

    On a CPU self-training counts as training does: the same model, with a few more classes in the loss. Without
    `trains` there is no training, and one evaluation.

    Raises:
        UserError: not even one picture fits into the GPU's memory, or the processes do not divide the batch.
    """
    plan: list[tuple[str, TrainedSetting, int, int]] = []
    if trains:
        plan.append(("training", "inductive", config.train.iterations, config.train.batch_size))
    if trains and self_training:
        mode = transductive(SELF_TRAINING)
        plan.append(("self-training", mode, config.self_train_iterations, config.self_train.batch_size))
    phases: list[Phase] = []
    wanted, measured = 1, None
    with progress("measure steps", len(plan) + 1) as bar:
        for done, (name, setting, steps, batch) in enumerate(plan, 1):
            share = _share(config, name, batch, processes)
            if measured is None or device.type == "cuda":
                measured = _measured(config, name, setting, share, device)
            accumulation = measured.accumulation
            phases.append(Phase(name, steps, measured.sample.of(share // accumulation), accumulation))
            wanted = max(wanted, _fitting(measured, share, device, name))
            bar.advance(done, name)
        pictures, size = _pictures(data_set, inputs)
        scored = labelling(config, device, size=size)
        phases += [
            Phase(f"evaluation {number}" if len(plan) > 1 else "evaluation", pictures, scored)
            for number in range(1, max(len(plan), 1) + 1)
        ]
        bar.advance(len(plan) + 1, "evaluation")
    return Estimate(
        phases=tuple(phases),
        num_seeds=num_seeds,
        weights=None if measured is None else measured.weights,
        num_checkpoints=3 if self_training else 2,
        memory_there=_memory_there(device),
        disk_there=shutil.disk_usage(nearest_existing(out)).free,
        device=_name(device),
        method=_method(config, device, size, trains=trains),
        wanted_accumulation=wanted if wanted > config.train.accumulation_steps else None,
    )


@dataclass(frozen=True)
class _Measured:
    """A measured training step, the weights of its model, and the accumulation steps with which the batch fitted."""

    sample: Sample
    weights: Weights
    accumulation: int


def _share(config: RunConfig, name: str, batch: int, processes: int) -> int:
    """Return each process's part of a batch; UserError if the batch does not divide evenly."""
    accumulation = config.train.accumulation_steps
    if batch % (processes * accumulation):
        raise UserError(
            f"{name}: a batch of {batch} does not divide into {processes} processes and {accumulation} accumulation "
            "steps; change --processes or train.accumulation_steps"
        )
    return batch // processes


def _measured(
    config: RunConfig, name: str, setting: TrainedSetting, share: int, device: torch.device
) -> _Measured:
    """Measure a step; on a GPU whose memory the configured batch exceeds, that of the largest batch that fits."""
    accumulation = config.train.accumulation_steps
    while True:
        batch = batch_to_measure(share // accumulation, device)
        try:
            return _Measured(*training_step(config, setting, device, batch=batch), accumulation)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            accumulation = _next(share, accumulation, name)


def _fitting(measured: _Measured, share: int, device: torch.device, name: str) -> int:
    """Return the least number of accumulation steps whose batch fits into memory, or that of single pictures."""
    accumulation, there = measured.accumulation, _memory_there(device)
    while (
        device.type != "cuda"
        and accumulation < share
        and measured.sample.of(share // accumulation).memory > there
    ):
        accumulation = _next(share, accumulation, name)
    return accumulation


def _next(share: int, accumulation: int, name: str) -> int:
    """Return the next larger number of equal parts of a process's share of the batch."""
    for parts in range(accumulation + 1, share + 1):
        if share % parts == 0:
            return parts
    raise UserError(
        f"{name}: not even one picture fits into the GPU's memory; use a larger GPU or --device cpu"
    )


def _pictures(data_set: DataSet, inputs: Inputs) -> tuple[int, tuple[int, int]]:
    """Return the number of pictures to score and their median height and width; official numbers without data."""
    if not (inputs.prepared / "index.parquet").is_file():
        assert data_set.release is not None
        return data_set.release.counts[SPLIT], TYPICAL_SIZE
    rows = rows_of_split(read_index(inputs.prepared), SPLIT)
    return len(rows), (int(np.median(rows["height"])), int(np.median(rows["width"])))


def _method(config: RunConfig, device: torch.device, size: tuple[int, int], *, trains: bool) -> str:
    side, (height, width) = config.data.crop_size, size
    if device.type == "cuda":
        step = f"training steps on random pictures of {side} x {side} with the real batch"
        exactness = ""
    else:
        step = f"one training step on a random picture of {side} x {side}, times the pictures of a batch"
        exactness = " (first calls: steps of a batch take about a quarter less time for each picture, and 15 % more memory)"
    steps = f"{step}, and " if trains else ""
    return (
        f"measured now on {_name(device)}: {steps}the labelling of one picture of {width} x {height}{exactness}; "
        "reading pictures is not included"
    )


def _memory_there(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return usable_memory()


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"the CPU ({torch.get_num_threads()} threads)"


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
