"""Inference on photographs, compared with the published computation: `python -m benchmarks.inference`.

Cascade-CLIP or ZegCLIP on a ViT-B/16 with random weights labels an 8-bit photograph at its own size (short side 512,
windows of 512, stride 426) on a CPU; by default Cascade-CLIP with 171 classes (156 seen) and 640 x 480 pixels in
float32. The plain computation is in float32, whatever ours is in. The share of the peak is that of large matrix products
in the same run and ours' precision; it counts the operations of the model.

With `--outside` the time outside the backbone is compared as well, in float32: the time of a run minus that of the image
tower and the middle projections in the same run, which are calls of the trunk and of the head's `memories` in ours, of
`plain.backbone` in the plain one. Without the seen penalty few classes can be ruled out, because all classes of an
untrained model score about the same.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from unittest import mock

import numpy as np
from torch import Tensor

from benchmarks import plain
from benchmarks.cases import random_model, recipe_for
from benchmarks.compare import Comparison, Work, compare
from benchmarks.machine import NO_BF16, has_bf16, load, surroundings
from benchmarks.options import add_cases, parsed, parser_of
from benchmarks.stopwatch import Stopwatch
from cascade_core.batches.transforms import normalise, resize_image, short_side_size
from cascade_core.configs.config import Precision, RunConfig
from cascade_core.inference.label_maps import label_photographs
from cascade_core.inference.views import views
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.model.cascade import MaskHead
from cascade_core.model.segmentor import Segmentor
from cascade_core.profile.cost import multiply_adds

METHOD, CLASSES = "cascade_clip", 171
SIZES = {"photograph": (480, 640), "crop": (512, 512)}
"""Heights and widths by name."""


@dataclass(frozen=True)
class Case:
    """A photograph and a model to label it with."""

    picture: np.ndarray
    vocabulary: Vocabulary
    config: RunConfig

    def ours(self) -> object:
        return label_photographs(
            self.vocabulary,
            [self.picture],
            views=views(),
            evaluate=self.config.evaluate,
            mean=self.config.data.mean,
            std=self.config.data.std,
        )

    def published(self) -> Tensor:
        data, size = self.config.data, self.picture.shape[:2]
        seen = resize_image(self.picture, short_side_size(size, plain.CROP))
        return plain.label_map(
            self.vocabulary.segmentor,
            normalise(seen, data.mean, data.std)[None],
            self.vocabulary.class_vectors,
            seen=list(self.vocabulary.seen),
            seen_penalty=self.vocabulary.seen_penalty,
            size=(size[0], size[1]),
        )

    def operations(self) -> float:
        """Count the model's operations for all windows; a multiply-add is two."""
        evaluate, size = self.config.evaluate, self.picture.shape[:2]
        sides = short_side_size(size, evaluate.short_side or min(size))
        windows = [max(side - evaluate.crop_size, 0) / evaluate.stride for side in sides]
        number = int(np.prod([1 + np.ceil(window) for window in windows]))
        model = self.vocabulary.segmentor
        parts = multiply_adds(model, image_size=evaluate.crop_size, num_classes=len(self.vocabulary))
        return 2e9 * number * parts["total"]


def case(
    size: tuple[int, int],
    seen_penalty: float = 0.1,
    *,
    method: str = METHOD,
    classes: int = CLASSES,
    precision: Precision = "fp32",
) -> Case:
    """Build a random model and photograph."""
    config, _ = recipe_for(method, classes)
    config = config.model_copy(
        update={"evaluate": config.evaluate.model_copy(update={"precision": precision})}
    )
    segmentor, vectors = random_model(config)
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    seen = [i for i in config.data.split.seen if i < classes]
    labeller = Vocabulary(
        segmentor.eval(), vectors[:classes], "sigmoid", seen=seen, seen_penalty=seen_penalty
    )
    return Case(resize_image(coarse, size), labeller, config)


def make(
    size: tuple[int, int], method: str, classes: int, precision: Precision
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Build a case; return our way and the plain one."""
    random_case = case(size, method=method, classes=classes, precision=precision)
    return random_case.ours, random_case.published


def measure(
    size: tuple[int, int],
    method: str,
    classes: int,
    precision: Precision,
    *,
    rounds: int,
    memory: bool = False,
) -> Comparison:
    """Compare the labelling of one picture in turns."""
    work = Work(case(size, method=method, classes=classes).operations(), precision)
    name = f"{size[1]} x {size[0]}, {method}, {classes} classes, {precision}"
    making = partial(make, size, method, classes, precision)
    return compare(name, making, rounds=rounds, memory=memory, work=work)


def timed(call: Callable[[], object], segmentor: Segmentor) -> float:
    """Return the seconds of a call outside the backbone."""
    watch, head = Stopwatch(), segmentor.decoder
    assert isinstance(head, MaskHead)
    with (
        watch.over(segmentor.trunk),
        mock.patch.object(head, "memories", watch.around(head.memories)),
        mock.patch.object(plain, "backbone", watch.around(plain.backbone)),
    ):
        began = time.perf_counter()
        call()
        whole = time.perf_counter() - began
    assert watch.seconds, "the backbone was not called"
    return whole - watch.seconds


def outside(size: tuple[int, int], method: str, classes: int, rounds: int) -> Iterator[str]:
    """Compare the time outside the backbone of ours, with and without the seen penalty, and of the plain computation."""
    penalised, unpenalised = (case(size, penalty, method=method, classes=classes) for penalty in (0.1, 0.0))
    calls = (penalised.ours, unpenalised.ours, penalised.published)
    models = [one.vocabulary.segmentor for one in (penalised, unpenalised, penalised)]
    runs = [[timed(*pair) for pair in zip(calls, models, strict=True)] for _ in range(rounds + 1)][1:]
    ours, without, published = (statistics.median(values) for values in zip(*runs, strict=True))
    for suffix, seconds in (("", ours), (" without seen penalty", without)):
        ratio = f"{seconds:.3f} s / {published:.3f} s = {seconds / published:.3f}"
        yield f"{size[1]} x {size[0]}, {method}, {classes} classes, outside the backbone{suffix}: time {ratio}"


def size_of(text: str) -> tuple[int, int]:
    """Return height and width from a name or from WIDTHxHEIGHT."""
    if text in SIZES:
        return SIZES[text]
    width, height = text.split("x")
    return int(height), int(width)


def main() -> None:
    parser = parser_of(__doc__)
    add_cases(parser, methods=(METHOD,), classes=CLASSES)
    parser.add_argument(
        "--size",
        nargs="+",
        type=size_of,
        default=[SIZES["photograph"]],
        help="photograph (640x480), crop (512x512) or WIDTHxHEIGHT",
    )
    parser.add_argument("--outside", action="store_true", help="compare the time outside the backbone, too")
    options = parsed(parser)
    print(surroundings())
    cases = product(options.size, options.method, options.classes, options.precision)
    for size, method, classes, precision in cases:
        if precision == "bf16" and not has_bf16():
            print(f"{size[1]} x {size[0]}, {method}, {classes} classes, bf16: {NO_BF16}")
            continue
        compared = measure(size, method, classes, precision, rounds=options.rounds, memory=options.memory)
        print(f"{compared.line()}; {load()}", flush=True)
    for size, method, classes in product(options.size, options.method, options.classes):
        for line in outside(size, method, classes, options.rounds) if options.outside else ():
            print(line, flush=True)


if __name__ == "__main__":
    main()
