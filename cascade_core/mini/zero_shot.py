"""What the tiny CLIP knows without any label: zero-shot accuracy on held-out pictures, whole and by patch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int
from torch import Tensor

from cascade_core.clip.model import ClipModel
from cascade_core.clip.text import class_vectors
from cascade_core.datasets.mini import CLASSES, TEMPLATES, UNSEEN
from cascade_core.mini import world
from cascade_core.mini.pretrain import HELD_OUT_STREAM, mini_tokenizer, normalise
from cascade_core.mini.vocabulary import THINGS

PURITY = 0.75
Ids = Int[np.ndarray, " rows"]


@dataclass(frozen=True)
class ZeroShotAccuracy:
    """Mean of the per-class accuracies (fractions) over seen and over unseen classes."""

    seen: float
    unseen: float
    per_class: dict[str, float]


def zero_shot_accuracy(clip: ClipModel, *, seed: int, num_pictures: int = 960) -> ZeroShotAccuracy:
    """Return top-1 over all thing classes on held-out pictures of single things."""
    rng = np.random.default_rng([HELD_OUT_STREAM, seed, 0])
    plan = world.plan_objects(rng, num_pictures)
    pictures = world.render(rng, plan, size=clip.config.image_size)
    vectors = class_vectors(clip.text, mini_tokenizer(), THINGS, TEMPLATES)
    scores = _in_batches(clip, pictures.images, patches=False) @ vectors.cpu().T
    truth = np.array([THINGS.index(CLASSES[index]) for index in plan.things[:, 0]])
    return _accuracy(scores.argmax(dim=-1).numpy(), truth, THINGS)


def patch_accuracy(clip: ClipModel, *, seed: int, num_pictures: int = 300) -> ZeroShotAccuracy:
    """Return how often a last-layer patch vector is nearest its class's text vector, over all classes.

    A diagnostic of how ready the frozen tower is for segmentation, on held-out whole scenes; only
    patches of which one class covers at least `PURITY` count. It never trains anything.
    """
    rng = np.random.default_rng([HELD_OUT_STREAM, seed, 1])
    pictures = world.render(rng, world.plan_scenes(rng, num_pictures), size=world.SCENE_SIZE)
    vectors = class_vectors(clip.text, mini_tokenizer(), CLASSES, TEMPLATES)
    scores = _in_batches(clip, pictures.images, patches=True) @ vectors.cpu().T
    share, truth = _majority(pictures.labels, clip.config.patch_size)
    pure = share >= PURITY
    return _accuracy(scores.argmax(dim=-1).numpy()[pure], truth[pure], CLASSES)


@torch.no_grad()
def patch_vectors(
    clip: ClipModel, images: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch patches embed"]:
    """Return the last layer's patch tokens taken where CLIP takes its CLS token: `ln_post`, then `proj`."""
    tokens, _ = clip.visual.embed(images)
    for block in clip.visual.blocks:
        tokens = block(tokens)
    return clip.visual.ln_post(tokens[:, 1:]) @ clip.visual.proj


@torch.no_grad()
def _in_batches(clip: ClipModel, images: world.Images, *, patches: bool) -> Float[Tensor, "*rows embed"]:
    rows = []
    for few in normalise(images).split(64):
        pixels = few.to(clip.logit_scale.device)
        vectors = patch_vectors(clip, pixels) if patches else clip.visual.encode_image(pixels)
        rows.append(F.normalize(vectors, dim=-1).cpu())
    return torch.cat(rows)


def _majority(
    labels: world.Labels, patch_size: int
) -> tuple[Float32[np.ndarray, "pictures patches"], Int[np.ndarray, "pictures patches"]]:
    """Return, per patch, the share of its most frequent class and that class."""
    count, side = len(labels), labels.shape[1] // patch_size
    cells = labels.reshape(count, side, patch_size, side, patch_size).transpose(0, 1, 3, 2, 4)
    cells = cells.reshape(count, side * side, -1)
    shares = np.stack(
        [(cells == index).mean(axis=-1, dtype=np.float32) for index in range(len(CLASSES))], axis=-1
    )
    return shares.max(axis=-1), shares.argmax(axis=-1)


def _accuracy(predicted: Ids, truth: Ids, names: Sequence[str]) -> ZeroShotAccuracy:
    per_class = {
        name: float((predicted[truth == index] == index).mean())
        for index, name in enumerate(names)
        if (truth == index).any()
    }
    seen = [value for name, value in per_class.items() if name not in UNSEEN]
    unseen = [value for name, value in per_class.items() if name in UNSEEN]
    return ZeroShotAccuracy(float(np.mean(seen)), float(np.mean(unseen)), per_class)
