"""Inference on photographs, compared with the published computation: `python -m benchmarks.inference`.

Cascade-CLIP on a ViT-B/16 with random weights and 171 classes (156 seen) labels 8-bit photographs at their own size
(short side 512, windows of 512, stride 426), in float32 on a CPU. The time outside the backbone is the time of a run
minus that of the image tower and the middle projections in the same run: calls of the trunk and of the head's
`memories` in ours, of `plain.backbone` in the plain one. Without the seen penalty few classes can be ruled out, because
all classes of an untrained model score about the same.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from benchmarks import plain
from benchmarks.compare import ROUNDS, Comparison, peak_memory, surroundings
from benchmarks.stopwatch import Stopwatch
from cascade_core.batches.transforms import normalise, resize_image, short_side_size
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import RunConfig
from cascade_core.configs.recipes import recipe
from cascade_core.inference.label_maps import label_photographs
from cascade_core.inference.views import views
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.model.build import build_segmentor
from cascade_core.model.cascade import MaskHead
from cascade_core.model.segmentor import Segmentor

CLASSES, SEEN = 171, range(156)
PHOTOGRAPHS = ((375, 500), (480, 640))
"""Heights and widths."""


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
            seen=list(SEEN),
            seen_penalty=self.vocabulary.seen_penalty,
            size=(size[0], size[1]),
        )


def case(size: tuple[int, int], seen_penalty: float = 0.1) -> Case:
    """Build a random model and photograph."""
    config = recipe("cascade_cocostuff", {}, seed=0)
    torch.manual_seed(0)
    segmentor = build_segmentor(config.model, VisionTransformer(config.model.clip), seed=0).eval()
    vectors = torch.nn.functional.normalize(torch.randn(CLASSES, config.model.clip.embed_dim), dim=-1)
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    labeller = Vocabulary(segmentor, vectors, "focal_dice", seen=list(SEEN), seen_penalty=seen_penalty)
    return Case(resize_image(coarse, size), labeller, config)


def both(size: tuple[int, int]) -> tuple[Callable[[], object], Callable[[], object]]:
    random_case = case(size)
    return random_case.ours, random_case.published


def timed(call: Callable[[], object], segmentor: Segmentor) -> tuple[float, float]:
    """Return the seconds of a call, in total and outside the backbone."""
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
    return whole, whole - watch.seconds


def lines(size: tuple[int, int]) -> Iterator[str]:
    """Compare ours, with and without the seen penalty, and the plain computation in turns."""
    penalised, unpenalised = case(size), case(size, seen_penalty=0.0)
    calls = (penalised.ours, unpenalised.ours, penalised.published)
    models = [model_case.vocabulary.segmentor for model_case in (penalised, unpenalised, penalised)]
    rounds = [[timed(*pair) for pair in zip(calls, models, strict=True)] for _ in range(ROUNDS + 1)][1:]
    ours, without, published = (
        [statistics.median(values) for values in zip(*runs, strict=True)]
        for runs in zip(*rounds, strict=True)
    )
    memory = [peak_memory(partial(both, size), which) for which in (0, 1)]
    name = f"photograph of {size[1]} x {size[0]}"
    yield Comparison(f"{name}, whole", ours[0], published[0], *memory).line()
    for suffix, seconds in (("", ours[1]), (" without seen penalty", without[1])):
        ratio = f"{seconds:.3f} s / {published[1]:.3f} s = {seconds / published[1]:.3f}"
        yield f"{name}, outside the backbone{suffix}: time {ratio}"


if __name__ == "__main__":
    print(surroundings())
    for size in PHOTOGRAPHS:
        for line in lines(size):
            print(line, flush=True)
