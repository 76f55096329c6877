"""What models cost when they run, several by turns: latency, throughput, peak memory, and a breakdown by part."""

import gc
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from cascade_core.errors import UserError
from cascade_core.profile.breakdown import Breakdown, breakdown
from cascade_core.profile.case import Case, Speed, Subject, seconds_of
from cascade_core.profile.cost import COUNTER, parameters
from cascade_core.profile.reference import BATCH as REFERENCE_BATCH
from cascade_core.profile.reference import reference_network, reference_tokens


@dataclass(frozen=True)
class Settings:
    """What is varied, and how often each case is timed. No picture size stands for each model's own."""

    batch_sizes: tuple[int, ...] = (1, 8)
    image_sizes: tuple[int, ...] = ()
    repeats: int = 5

    def sizes(self, subject: Subject) -> tuple[int, ...]:
        return self.image_sizes or (subject.image_size,)


@dataclass(frozen=True)
class Cost:
    """The cost of one model for a given number of classes.

    `gmacs` are billions of multiply-adds for one picture of `image_size`, the first size measured.
    `images_per_second` and `peak_memory_mib` are the highest over the batch sizes there; memory is what the
    process held at most beyond what it held before. `relative_speed` is `images_per_second` over the reference
    network's, timed in turns with the model. Of the trainable weights the dead ones never get a gradient.
    """

    image_size: int
    num_classes: int
    trainable_params: int
    dead_params: int
    total_params: int
    gmacs: float
    gmacs_counted_by: str
    speeds: tuple[Speed, ...]
    images_per_second: float
    relative_speed: float
    peak_memory_mib: float
    peak_memory_measured_by: str
    breakdown: Breakdown
    device: str
    threads: int


Told = Callable[[int, int, str], None]
"""Hears after each run how many are done, of how many, and what was run."""


@torch.no_grad()
def measure(
    subjects: Sequence[Subject], settings: Settings, device: torch.device, *, told: Told
) -> tuple[Cost, ...]:
    """Measure the forward pass of each subject, maps of all classes at picture size included.

    Runs of the subjects and of the reference network take turns, so that a busy hour of the machine falls on
    all of them. The breakdown goes on to the label map, at the first batch and picture size that memory has room for.
    Where a GPU's memory runs out the rest goes on.

    Raises:
        UserError: a setting is refused, or memory ran out in every case of a subject's first picture size.
    """
    check(subjects, settings)
    for subject in subjects:
        subject.model.to(device).eval()
    cases = [
        [Case(subject, batch_size, settings.sizes(subject)[place], device) for subject in subjects]
        for place in range(len(settings.sizes(subjects[0])))
        for batch_size in settings.batch_sizes
    ]
    reference_times: list[float] = []
    total = len(subjects) * (len(cases) * (1 + settings.repeats) + 1)
    for done, text in enumerate(_runs(cases, settings.repeats, reference_times), 1):
        told(done, total, text)
    reference_speed = REFERENCE_BATCH / statistics.median(reference_times)
    costs = []
    for left, own in enumerate(zip(*cases, strict=True), 1 - len(subjects)):
        costs.append(_cost(own, settings, reference_speed))
        told(total + left, total, f"parts of {own[0].subject.name}")
    return tuple(costs)


def check(subjects: Sequence[Subject], settings: Settings) -> None:
    """Refuse what cannot be measured.

    Raises:
        UserError: there is no subject, a batch size, a picture size or the number of repeats is below 1, or a
            size is no multiple of a subject's patch.
    """
    if not subjects:
        raise UserError("there is no model to measure; give a checkpoint or a recipe")
    for name, values in (
        ("batch sizes", settings.batch_sizes),
        ("picture sizes", settings.image_sizes or (1,)),
        ("repeats", (settings.repeats,)),
    ):
        if not values or min(values) < 1:
            given = ", ".join(map(str, values)) or "none"
            raise UserError(f"{name} {given}: give whole numbers from 1, at least one of them")
    for subject in subjects:
        for size in settings.sizes(subject):
            if size % subject.patch_size:
                near = max(size // subject.patch_size, 1) * subject.patch_size
                raise UserError(
                    f"picture size {size} is no multiple of the patches of {subject.name}, which are "
                    f"{subject.patch_size} wide; give {near} or {near + subject.patch_size}"
                )


def _runs(cases: Sequence[Sequence[Case]], repeats: int, reference_times: list[float]) -> Iterator[str]:
    """Run all cases, those of one batch and picture size by turns, and yield what each run was."""
    device = cases[0][0].device
    reference, tokens = reference_network(device), reference_tokens(device)
    reference(tokens)
    gc.collect()  # what is dropped during a run would blur its memory
    for turn in cases:
        for case in turn:
            case.attempt(case.weigh)
            yield f"memory of {case.subject.name}"
        for _ in range(repeats):
            for case in turn:
                case.attempt(case.time)
                yield f"batch {case.batch_size} of {case.image_size} px, {case.subject.name}"
            reference_times.append(seconds_of(lambda: reference(tokens), device))


def _cost(cases: Sequence[Case], settings: Settings, reference_speed: float) -> Cost:
    """Sum up the cases of one subject."""
    subject, device = cases[0].subject, cases[0].device
    size = settings.sizes(subject)[0]
    ran = [case for case in cases if case.image_size == size and not case.out_of_memory]
    parts = _parts(ran, settings.repeats)
    if parts is None:
        raise UserError(
            f"{subject.name} ran out of memory at every batch size with pictures of {size} x {size}; "
            "give smaller ones"
        )
    images_per_second = max(case.batch_size / statistics.median(case.seconds) for case in ran)
    counted = parameters(subject.model)
    return Cost(
        image_size=size,
        num_classes=len(subject.class_vectors),
        trainable_params=counted.trainable,
        dead_params=counted.dead,
        total_params=counted.total,
        gmacs=sum(part.gmacs for part in parts.parts) / parts.batch_size,
        gmacs_counted_by=COUNTER,
        speeds=tuple(case.speed() for case in cases),
        images_per_second=images_per_second,
        relative_speed=images_per_second / reference_speed,
        peak_memory_mib=max(case.peak_memory_mib for case in ran),
        peak_memory_measured_by=ran[0].measured_by,
        breakdown=parts,
        device=str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
        threads=torch.get_num_threads(),
    )


def _parts(cases: Sequence[Case], repeats: int) -> Breakdown | None:
    """Break down the first case whose label maps memory has room for too; None if there is none."""
    for case in cases:
        found: list[Breakdown] = []
        # On a copy, so that a case which ran keeps its times.
        replace(case).attempt(lambda images: found.append(breakdown(case, images, repeats=repeats)))  # noqa: B023
        if found:
            return found[0]
    return None
