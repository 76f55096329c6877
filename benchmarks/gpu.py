"""Training and inference on a GPU, compared with its peak and the plain computation: `python -m benchmarks.gpu`.

Cascade-CLIP and ZegCLIP on a ViT-B/16 with random weights, COCO-Stuff's 171 classes (156 seen), and pictures of
512 x 512 pixels that are already on the device. Ours is the users' training loop and labelling in bfloat16 with 16
pictures at once. The baseline is the published computation, written plainly, in float32: training with 4 pictures (as
published for one GPU), inference with one. Times are medians of interleaved runs. Shares are of the measured peak of
bfloat16 matrix products.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import loss, plain
from benchmarks.compare import ROUNDS
from cascade_core.batches.samples import Batch
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import RunConfig
from cascade_core.configs.recipes import recipe
from cascade_core.datasets.catalogue import protocol
from cascade_core.inference.label_maps import label_maps
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_views import hide_unseen
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from cascade_core.profile.cost import multiply_adds
from cascade_core.train.loop import train
from cascade_core.train.optim import build_optimizer
from cascade_core.train.supervision import Supervision

RECIPES = ("cascade_cocostuff", "zegclip_cocostuff")
BATCH, PLAIN_BATCH = 16, 4
MATRIX_SIDE = 8192
GB = 10**9

Call = Callable[[], object]


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


@dataclass(frozen=True)
class Case:
    """A method with random weights on a device, and its input."""

    config: RunConfig
    segmentor: Segmentor
    split: ClassSplit
    vectors: Tensor
    images: Tensor
    labels: Tensor

    def training(self) -> Call:
        """Return a function that runs one step of the training loop in bfloat16."""
        padding = torch.zeros_like(self.labels, dtype=torch.bool)
        batch = Batch(("",) * len(self.images), self.images, self.labels, padding)
        in_half = self.config.train.model_copy(update={"precision": "bf16"})
        steps = train(
            self.segmentor,
            build_optimizer(self.segmentor, self.config.optim),
            itertools.repeat(batch),
            config=self.config.model_copy(update={"train": in_half}),
            supervision=Supervision("inductive", self.split),
            class_vectors=self.vectors,
            start=0,
            total=self.config.train.iterations,
            device=self.images.device,
        )
        return partial(next, steps)

    def plain_training(self) -> Call:
        """Return a function that runs one step of the published computation with the first pictures."""
        optimizer = build_optimizer(self.segmentor, self.config.optim)
        images = self.images[:PLAIN_BATCH]
        labels = hide_unseen(self.labels[:PLAIN_BATCH], self.split.num_classes, self.split.unseen)
        vectors = self.vectors[list(self.split.seen)]

        def step() -> None:
            self.segmentor.train()
            optimizer.zero_grad(set_to_none=True)
            terms = plain.loss(plain.grid_logits(self.segmentor, images, vectors), labels, self.config.loss)
            (terms["focal"] + terms["dice"]).backward()
            optimizer.step()

        return step

    def inference(self) -> Call:
        """Return a function that labels the pictures, with the model in bfloat16 and the scores in float32."""
        vocabulary = Vocabulary(
            deepcopy(self.segmentor).eval(),
            self.vectors,
            "focal_dice",
            seen=self.split.seen,
            seen_penalty=self.config.evaluate.seen_penalty,
        )
        return partial(
            label_maps,
            vocabulary,
            self.images,
            evaluate=self.config.evaluate.model_copy(update={"precision": "bf16"}),
            size=(self.images.shape[-2], self.images.shape[-1]),
        )

    def plain_inference(self) -> Call:
        """Return a function that labels the first picture as published."""
        return partial(
            plain.label_map,
            deepcopy(self.segmentor).eval(),
            self.images[:1],
            self.vectors,
            seen=list(self.split.seen),
            seen_penalty=self.config.evaluate.seen_penalty,
            size=(self.images.shape[-2], self.images.shape[-1]),
            crop=self.config.evaluate.crop_size,
            stride=self.config.evaluate.stride,
        )


def make_case(config: RunConfig, device: torch.device, *, batch: int) -> Case:
    """Build a model and random text vectors, pictures and label maps for it."""
    torch.manual_seed(0)
    split, side = protocol(config.data.protocol), config.model.image_size
    vectors = torch.nn.functional.normalize(
        torch.randn(split.num_classes, config.model.clip.embed_dim), dim=-1
    )
    segmentor = build_segmentor(config.model, VisionTransformer(config.model.clip), seed=0)
    labels = loss.region_labels(batch, side, generator=torch.Generator().manual_seed(0))
    return Case(
        config,
        segmentor.to(device),
        split,
        vectors.to(device),
        torch.randn(batch, 3, side, side, device=device),
        labels.to(device),
    )


def multiply_adds_of_a_step(parts: Mapping[str, float]) -> float:
    """Count a training step's multiply-adds from those of a forward pass, by part.

    The trunk is frozen: its backward pass costs one more forward pass, for the gradient of its input. The decoder
    trains: its backward pass costs two.
    """
    return 2 * parts["trunk"] + 3 * parts["decoder"]


def share_of_peak(images_per_second: float, billions_of_multiply_adds: float, peak: float) -> float:
    """Return the share of `peak` (operations per second) that is reached; a multiply-add is two operations."""
    return images_per_second * 2e9 * billions_of_multiply_adds / peak


def seconds(calls: Sequence[Call], device: torch.device) -> list[float]:
    """Return medians of `ROUNDS` interleaved runs, after two runs of each to compile."""
    times: list[list[float]] = [[] for _ in calls]
    for round_ in range(-2, ROUNDS):
        for call, of_call in zip(calls, times, strict=True):
            torch.cuda.synchronize(device)
            began = time.perf_counter()
            call()
            torch.cuda.synchronize(device)
            if round_ >= 0:
                of_call.append(time.perf_counter() - began)
    return [statistics.median(of_call) for of_call in times]


def matrix_peak(device: torch.device) -> float:
    """Measure the operations per second of a large product of bfloat16 matrices."""
    left, right = (
        torch.randn(MATRIX_SIDE, MATRIX_SIDE, device=device, dtype=torch.bfloat16) for _ in range(2)
    )
    (took,) = seconds([lambda: [torch.matmul(left, right) for _ in range(20)]], device)
    return 20 * 2 * MATRIX_SIDE**3 / took


def bars_of(name: str, device: torch.device, peak: float) -> list[Bar]:
    """Measure a method; training comes first, so that its peak memory is its own."""
    case = make_case(recipe(name), device, batch=BATCH)
    parts = {
        number: multiply_adds(case.segmentor, image_size=case.config.model.image_size, num_classes=number)
        for number in (len(case.split.seen), case.split.num_classes)
    }
    training = case.training()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(3):
        training()
    memory = torch.cuda.max_memory_reserved(device)
    trained, plainly = seconds([training, case.plain_training()], device)
    labelled, labelled_plainly = seconds([case.inference(), case.plain_inference()], device)
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
    peak = matrix_peak(device)
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
