"""The running costs of models, measured in turns: latency, throughput, peak memory, and a breakdown by part."""

import gc
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from cascade_core.errors import UserError
from cascade_core.profile.breakdown import Breakdown, breakdown
from cascade_core.profile.case import Case, Speed, Subject, seconds_of
from cascade_core.profile.cost import COUNTER, parameters

REFERENCE_BATCH, TOKENS, WIDTH = 8, 64, 64
"""The reference network's input has the shape [8, 64, 64]."""


@dataclass(frozen=True)
class Settings:
    """Batch and picture sizes to measure, and runs per case. Without picture sizes each model uses its own."""

    batch_sizes: tuple[int, ...] = (1, 8)
    image_sizes: tuple[int, ...] = ()
    repeats: int = 5

    def sizes(self, subject: Subject) -> tuple[int, ...]:
        return self.image_sizes or (subject.image_size,)


@dataclass(frozen=True)
class Cost:
    """The cost of one model for a given number of classes.

    `gmacs` are billions of multiply-adds for one picture of `image_size`, the first size. `images_per_second` and
    `peak_memory_mib` are the maxima over the batch sizes at that size. `peak_memory_mib` is the growth over the memory
    before the call. `relative_speed` is `images_per_second` divided by the reference network's. `dead_params` are the
    trainable weights that never get a gradient.
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


OnRun = Callable[[int, int, str], None]
"""Called after each run with the number of finished runs, their total and a description of the run."""


@torch.no_grad()
def measure(
    subjects: Sequence[Subject], settings: Settings, device: torch.device, *, report: OnRun
) -> tuple[Cost, ...]:
    """Measure the forward pass of each subject, up to maps of all classes at picture size.

    The subjects and the reference network take turns, so other load on the machine affects all of them alike. The
    breakdown includes the argmax; it is of the first case that fits into memory. A case that runs out of GPU memory
    does not stop the others.

    Raises:
        UserError: `check` refuses a setting, or every case of a subject's first picture size ran out of memory.
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
        report(done, total, text)
    reference_speed = REFERENCE_BATCH / statistics.median(reference_times)
    costs = []
    for done, of_subject in enumerate(zip(*cases, strict=True), total - len(subjects) + 1):
        costs.append(_cost(of_subject, settings, reference_speed))
        report(done, total, f"parts of {of_subject[0].subject.name}")
    return tuple(costs)


def check(subjects: Sequence[Subject], settings: Settings) -> None:
    """Check subjects and settings before anything runs.

    Raises:
        UserError: there is no subject; a batch size, a picture size or the number of repeats is below 1; or a
            picture size is no multiple of a subject's patch size.
    """
    if not subjects:
        raise UserError("there is no model to measure; give a checkpoint or a recipe")
    for name, values in (
        ("batch sizes", settings.batch_sizes),
        ("picture sizes", settings.image_sizes or (1,)),
        ("repeats", (settings.repeats,)),
    ):
        if not values or min(values) < 1:
            listed = ", ".join(map(str, values)) or "none"
            raise UserError(f"{name} {listed}: give whole numbers from 1, at least one of them")
    for subject in subjects:
        for size in settings.sizes(subject):
            if size % subject.patch_size:
                near = max(size // subject.patch_size, 1) * subject.patch_size
                raise UserError(
                    f"picture size {size} is no multiple of the patches of {subject.name}, which are "
                    f"{subject.patch_size} wide; give {near} or {near + subject.patch_size}"
                )


def _runs(cases: Sequence[Sequence[Case]], repeats: int, reference_times: list[float]) -> Iterator[str]:
    """Run all cases; models take turns at each batch and picture size. Yield a description of each run."""
    device = cases[0][0].device
    reference = reference_network(device)
    tokens = torch.zeros(REFERENCE_BATCH, TOKENS, WIDTH, device=device)
    reference(tokens)
    gc.collect()  # garbage freed during a run would distort its memory
    for turn in cases:
        for case in turn:
            case.attempt(case.measure_memory)
            yield f"memory of {case.subject.name}"
        for _ in range(repeats):
            for case in turn:
                case.attempt(case.measure_time)
                yield f"batch {case.batch_size} of {case.image_size} px, {case.subject.name}"
            reference_times.append(seconds_of(lambda: reference(tokens), device))


def _cost(cases: Sequence[Case], settings: Settings, reference_speed: float) -> Cost:
    """Summarise the cases of one subject."""
    subject, device = cases[0].subject, cases[0].device
    size = settings.sizes(subject)[0]
    runnable = [case for case in cases if case.image_size == size and not case.out_of_memory]
    parts = _parts(runnable, settings.repeats)
    if parts is None:
        raise UserError(
            f"{subject.name} ran out of memory at every batch size with pictures of {size} x {size}; "
            "give smaller batch or picture sizes"
        )
    images_per_second = max(case.batch_size / statistics.median(case.seconds) for case in runnable)
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
        peak_memory_mib=max(case.peak_memory_mib for case in runnable),
        peak_memory_measured_by=runnable[0].measured_by,
        breakdown=parts,
        device=str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
        threads=torch.get_num_threads(),
    )


def _parts(cases: Sequence[Case], repeats: int) -> Breakdown | None:
    """Break down the first case whose label maps fit into memory; return None if none does."""
    for case in cases:
        breakdowns: list[Breakdown] = []
        # On a copy: if it runs out of memory, the case itself keeps its times.
        replace(case).attempt(lambda images: breakdowns.append(breakdown(case, images, repeats=repeats)))  # noqa: B023
        if breakdowns:
            return breakdowns[0]
    return None


def reference_network(device: torch.device) -> nn.Module:
    """Return torch's own transformer encoder at the mini benchmark's size, always with the same weights.

    It is a yardstick: its time changes only with the machine and torch, so it separates them from changes of our code.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, dropout=0.0, batch_first=True)
        return nn.TransformerEncoder(layer, 4, enable_nested_tensor=False).to(device).eval()
