"""Training and inference on a GPU, compared with its peak and the plain computation: `python -m benchmarks.gpu`.

Cascade-CLIP and ZegCLIP on a ViT-B/16 with random weights, COCO-Stuff's 171 classes (156 seen), and pictures of
512 x 512 pixels that are already on the device. Ours is the users' training loop and labelling in bfloat16 with 16
pictures at once. The baseline is the published computation, written plainly, in float32: training with 4 pictures (as
published for one GPU), inference with one. Times are medians of interleaved runs. Shares are of the measured peak of
bfloat16 matrix products.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import loss, matrix_peak
from benchmarks.cases import Call, make_case, multiply_adds_of_a_step
from benchmarks.compare import ROUNDS
from benchmarks.stopwatch import in_turns
from cascade_core.configs.recipes import recipe
from cascade_core.profile.cost import multiply_adds

RECIPES = ("cascade_cocostuff", "zegclip_cocostuff")
BATCH, PLAIN_BATCH = 16, 4
GB = 10**9


@dataclass(frozen=True)
class Bar:
    """A measured number and its bar: a minimum, or with `at_most` a maximum."""

    name: str
    measured: float
    wanted: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted

    def row(self) -> tuple[str, str, str, str]:
        sign = "<=" if self.at_most else ">="
        return self.name, f"{self.measured:.3g}", f"{sign} {self.wanted:g}", "met" if self.met else "missed"


def share_of_peak(images_per_second: float, billions_of_multiply_adds: float, peak: float) -> float:
    """Return the share of `peak` (operations per second) that is reached; a multiply-add is two operations."""
    return images_per_second * 2e9 * billions_of_multiply_adds / peak


def seconds(calls: Sequence[Call], device: torch.device) -> list[float]:
    """Return medians of `ROUNDS` interleaved runs, after two runs of each to compile."""
    return in_turns(calls, ROUNDS, warm_ups=2, settle=partial(torch.cuda.synchronize, device))


def bars_of(name: str, device: torch.device, peak: float) -> list[Bar]:
    """Measure a method; training comes first, so that its peak memory is its own."""
    case = make_case(recipe(name), device, batch=BATCH)
    parts = {
        number: multiply_adds(case.segmentor, image_size=case.config.model.image_size, num_classes=number)
        for number in (len(case.split.seen), case.split.num_classes)
    }
    training = case.training("bf16")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(3):
        training()
    memory = torch.cuda.max_memory_reserved(device)
    trained, plainly = seconds([training, case.plain_training(PLAIN_BATCH)], device)
    labelled, labelled_plainly = seconds([case.inference("bf16"), case.plain_inference()], device)
    steps, pictures = BATCH / trained, BATCH / labelled
    print(f"{name}: training {steps:.1f} images/s, inference {pictures:.1f} images/s", flush=True)
    of_a_step = multiply_adds_of_a_step(parts[len(case.split.seen)])
    return [
        Bar(
            f"{name}: inference, share of the peak",
            share_of_peak(pictures, parts[case.split.num_classes]["total"], peak),
            0.4,
        ),
        Bar(f"{name}: training, share of the peak", share_of_peak(steps, of_a_step, peak), 0.35),
        Bar(f"{name}: inference, images/s over plain", pictures * labelled_plainly, 4),
        Bar(f"{name}: training, images/s over plain", steps * plainly / PLAIN_BATCH, 4),
        Bar(f"{name}: training, peak memory in GB", memory / GB, 24, at_most=True),
    ]


def main() -> None:
    if not torch.cuda.is_available():
        raise SystemExit(
            "benchmarks.gpu needs a CUDA device, but torch finds none; run it on a machine with a GPU"
        )
    device = torch.device("cuda")
    multiply, operations = matrix_peak.products("bf16", device)
    peak = operations / seconds([multiply], device)[0]
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, {datetime.now(tz=UTC):%Y-%m-%d}")
    print(f"products of bfloat16 matrices: {peak / 1e12:.0f} TFLOP/s", flush=True)
    ours, plainly = seconds(loss.make("cuda"), device)
    print(
        f"focal and dice loss, forward and backward, batch {loss.BATCH}: {1e3 * ours:.2f} / {1e3 * plainly:.2f} ms"
    )
    bars = [Bar("focal and dice loss: time over plain", ours / plainly, 0.25, at_most=True)]
    for name in RECIPES:
        bars += bars_of(name, device, peak)
    table = Table("what", "measured", "bar", "")
    for bar in bars:
        table.add_row(*bar.row())
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
