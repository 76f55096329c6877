"""Models with random weights and input for them: what the benchmarks of training and inference measure.

A case is chosen by method and number of classes: 156 or 15 seen classes and 171 or 20 in all, of COCO-Stuff and VOC.
"""

import itertools
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks import loss, plain
from cascade_core.batches.samples import Batch
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import Precision, RunConfig
from cascade_core.configs.recipes import recipe
from cascade_core.configs.settings import TrainedSetting
from cascade_core.inference.label_maps import label_maps
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.class_split import ClassSplit
from cascade_core.labels.label_views import hide_unseen
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from cascade_core.train.loop import train
from cascade_core.train.optim import build_optimizer
from cascade_core.train.supervision import Supervision

METHODS = {"cascade_clip": "cascade", "zegclip": "zegclip"}
"""The beginning of a method's recipe names."""
DATA_SETS = ("cocostuff", "voc12")

Call = Callable[[], object]


def recipe_for(method: str, classes: int) -> tuple[RunConfig, TrainedSetting]:
    """Return a method's published recipe with this number of classes, and the setting that trains with all of them.

    Raises:
        SystemExit: no data set has so many classes or seen classes.
    """
    numbers = []
    for data_set in DATA_SETS:
        config = recipe(f"{METHODS[method]}_{data_set}", {}, seed=0)
        split = config.data.split
        if classes == len(split.seen):
            return config, "inductive"
        if classes == split.num_classes:
            return config, "supervised"
        numbers += [split.num_classes, len(split.seen)]
    raise SystemExit(f"--classes {classes}: give one of {', '.join(map(str, numbers))}")


@dataclass(frozen=True)
class Case:
    """A method with random weights on a device, and its input."""

    config: RunConfig
    segmentor: Segmentor
    split: ClassSplit
    setting: TrainedSetting
    vectors: Tensor
    images: Tensor
    labels: Tensor

    def training(self, precision: Precision) -> Call:
        """Return a function that runs one step of the training loop."""
        padding = torch.zeros_like(self.labels, dtype=torch.bool)
        batch = Batch(("",) * len(self.images), self.images, self.labels, padding)
        settings = self.config.train.model_copy(update={"precision": precision})
        steps = train(
            self.segmentor,
            build_optimizer(self.segmentor, self.config.optim),
            itertools.repeat(batch),
            config=self.config.model_copy(update={"train": settings}),
            supervision=Supervision(self.setting, self.split),
            class_vectors=self.vectors,
            start=0,
            total=self.config.train.iterations,
            device=self.images.device,
        )
        return partial(next, steps)

    def plain_training(self, pictures: int) -> Call:
        """Return a function that runs one step of the published computation with the first pictures."""
        optimizer = build_optimizer(self.segmentor, self.config.optim)
        images, labels, vectors = self.images[:pictures], self.labels[:pictures], self.vectors
        if self.setting == "inductive":
            labels = hide_unseen(labels, self.split.num_classes, self.split.unseen)
            vectors = vectors[list(self.split.seen)]

        def step() -> None:
            self.segmentor.train()
            optimizer.zero_grad(set_to_none=True)
            terms = plain.loss(plain.grid_logits(self.segmentor, images, vectors), labels, self.config.loss)
            (terms["focal"] + terms["dice"]).backward()
            optimizer.step()

        return step

    def inference(self, precision: Precision) -> Call:
        """Return a function that labels the pictures, with the scores in float32."""
        vocabulary = Vocabulary(
            deepcopy(self.segmentor).eval(),
            self.vectors,
            "sigmoid",
            seen=self.split.seen,
            seen_penalty=self.config.evaluate.seen_penalty,
        )
        return partial(
            label_maps,
            vocabulary,
            self.images,
            evaluate=self.config.evaluate.model_copy(update={"precision": precision}),
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


def make_case(
    config: RunConfig, device: torch.device, *, batch: int, setting: TrainedSetting = "inductive"
) -> Case:
    """Build a model and random text vectors, pictures and label maps for it."""
    split, side = config.data.split, config.model.image_size
    segmentor, vectors = random_model(config)
    labels = loss.region_labels(batch, side, generator=torch.Generator().manual_seed(0))
    return Case(
        config,
        segmentor.to(device),
        split,
        setting,
        vectors.to(device),
        torch.randn(batch, 3, side, side, device=device),
        labels.to(device),
    )


def random_model(config: RunConfig) -> tuple[Segmentor, Tensor]:
    """Build a model with random weights, and unit vectors of its classes, or tokens if the model has a text tower."""
    torch.manual_seed(0)
    segmentor = build_segmentor(config.model, VisionTransformer(config.model.clip), seed=0)
    shape = config.vectors_shape(config.data.split.num_classes)
    if config.model.text == "tokens":
        return segmentor, torch.randint(config.model.clip.vocab_size, shape).float()
    vectors = torch.randn(shape)
    return segmentor, torch.nn.functional.normalize(vectors, dim=-1)


def multiply_adds_of_a_step(parts: Mapping[str, float]) -> float:
    """Count a training step's multiply-adds from those of a forward pass, by part.

    The trunk is frozen: its backward pass costs one more forward pass, for the gradient of its input. The decoder
    trains: its backward pass costs two. What is computed again to save memory does not count.
    """
    return 2 * parts["trunk"] + 3 * parts["decoder"]
