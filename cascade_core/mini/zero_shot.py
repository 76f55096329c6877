"""Zero-shot accuracy of the tiny CLIP on held-out pictures: of whole pictures and of patches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int
from torch import Tensor

from cascade_core.clip.text import class_vectors
from cascade_core.clip.weights import ClipModel
from cascade_core.mini.paint import render
from cascade_core.mini.pretrain import HELD_OUT_STREAM, normalise
from cascade_core.mini.world import Images, Labels, World

PURITY = 0.75


@dataclass(frozen=True)
class ZeroShotAccuracy:
    """Means of the per-class accuracies (fractions) over seen and over unseen classes."""

    seen: float
    unseen: float
    per_class: dict[str, float]


def zero_shot_accuracy(
    clip: ClipModel, world: World, *, seed: int, num_pictures: int = 960
) -> ZeroShotAccuracy:
    """Return the top-1 accuracy among all thing classes on held-out pictures of single things."""
    rng = np.random.default_rng([HELD_OUT_STREAM, seed, 0])
    plan = world.plan_objects(rng, num_pictures)
    pictures = render(rng, plan, size=world.crop_size)
    predicted = _nearest(clip, world, clip.visual.encode_image, pictures.images, world.things)
    truth = np.array([world.things.index(world.materials[index]) for index in plan.things[:, 0]])
    return _accuracy(predicted, truth, world.things, world.unseen)


def patch_accuracy(clip: ClipModel, world: World, *, seed: int, num_pictures: int = 300) -> ZeroShotAccuracy:
    """Return the accuracy of the text vector nearest to a last-layer patch vector, among all classes.

    Measures how suitable the frozen tower is for segmentation, on held-out whole scenes; no model is trained or
    chosen by it. Only patches in which one class covers at least `PURITY` count; background does not.
    """
    rng = np.random.default_rng([HELD_OUT_STREAM, seed, 1])
    pictures = render(rng, world.plan_scenes(rng, num_pictures), size=world.scene_size)
    names = world.classes
    predicted = _nearest(clip, world, lambda pixels: patch_vectors(clip, pixels), pictures.images, names)
    share, truth = _majority(pictures.labels, clip.config.patch_size, len(world.materials))
    counted = (share >= PURITY) & (truth < len(names))
    return _accuracy(predicted[counted], truth[counted], names, world.unseen)


@torch.no_grad()
def patch_vectors(
    clip: ClipModel, images: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch patches embed"]:
    """Return the last layer's patch tokens after `ln_post` and `proj`, which CLIP applies to its CLS token."""
    tokens, _ = clip.visual.embed(images)
    for block in clip.visual.blocks:
        tokens = block(tokens)
    return clip.visual.ln_post(tokens[:, 1:]) @ clip.visual.proj


@torch.no_grad()
def _nearest(
    clip: ClipModel, world: World, encode: Callable[[Tensor], Tensor], images: Images, names: Sequence[str]
) -> Int[np.ndarray, "*rows"]:
    """Return the index of the name whose text vector is nearest to each vector that `encode` makes of `images`."""
    device = clip.logit_scale.device
    vectors = torch.cat(
        [F.normalize(encode(batch.to(device)), dim=-1).cpu() for batch in normalise(images).split(64)]
    )
    text = class_vectors(clip.text, world.tokenizer, names, world.templates)
    return (vectors @ text.cpu().T).argmax(dim=-1).numpy()


def _majority(
    labels: Labels, patch_size: int, num_materials: int
) -> tuple[Float32[np.ndarray, "pictures patches"], Int[np.ndarray, "pictures patches"]]:
    """Return the share of each patch's most frequent material, and that material."""
    count, side = len(labels), labels.shape[1] // patch_size
    cells = labels.reshape(count, side, patch_size, side, patch_size).transpose(0, 1, 3, 2, 4)
    cells = cells.reshape(count, side * side, -1)
    shares = np.stack(
        [(cells == index).mean(axis=-1, dtype=np.float32) for index in range(num_materials)], axis=-1
    )
    return shares.max(axis=-1), shares.argmax(axis=-1)


def _accuracy(
    predicted: Int[np.ndarray, " rows"],
    truth: Int[np.ndarray, " rows"],
    names: Sequence[str],
    unseen_names: Sequence[str],
) -> ZeroShotAccuracy:
    per_class = {
        name: float((predicted[truth == index] == index).mean())
        for index, name in enumerate(names)
        if (truth == index).any()
    }
    seen = [value for name, value in per_class.items() if name not in unseen_names]
    unseen = [value for name, value in per_class.items() if name in unseen_names]
    return ZeroShotAccuracy(float(np.mean(seen)), float(np.mean(unseen)), per_class)
