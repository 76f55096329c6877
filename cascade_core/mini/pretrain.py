"""Contrastive pretraining of the tiny CLIP on pictures made on the fly, and its zero-shot checks.

The only training signal is the symmetric InfoNCE loss of CLIP (Radford et al.
2021, figure 3). Pictures are a mixture of windows into scenes, single things
and close-ups that one material fills: the close-ups and the small windows are
what makes patch vectors, not only whole pictures, tell patterns apart. A last,
shorter stage shows whole scenes at the size that segmentation uses, each captioned
with some of what is in it, as CLIP's own training ended at a higher resolution: it
teaches the global embedding which of several classes are present, on which the
relationship descriptor relies.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int, UInt8
from torch import Tensor

from cascade_core.clip.model import ClipModel
from cascade_core.clip.text import Tokenizer, class_vectors
from cascade_core.config import ClipConfig
from cascade_core.mini import world
from cascade_core.mini.captions import captions, names_in_view, some_of
from cascade_core.mini.vocabulary import (
    CLASS_TEMPLATES,
    CLASSES,
    CONTEXT_LENGTH,
    THINGS,
    UNSEEN,
    mini_tokenizer,
)

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""Pixels in 0..255 less the mean, over the deviation: the same in pretraining and segmentation."""

PRETRAINING_STREAM, HELD_OUT_STREAM = 0, 1
"""First word of the seeds: no picture of one stream is ever drawn in another (see `voc_layout`)."""

LARGEST_LOGIT_SCALE = 100.0


@dataclass(frozen=True)
class PretrainReport:
    """What one optimiser step did; `accuracy` is how often a picture found its own caption in the batch."""

    step: int
    loss: float
    accuracy: float
    learning_rate: float
    logit_scale: float


@dataclass(frozen=True)
class ZeroShotAccuracy:
    """Mean of the per-class accuracies (fractions) over seen and over unseen classes."""

    seen: float
    unseen: float
    per_class: dict[str, float]


def mini_clip_config() -> ClipConfig:
    """Return the shapes of the tiny CLIP: OpenAI's layout with patches of 8 on pictures of 40 pixels."""
    return ClipConfig(
        name="mini",
        image_size=world.CROP_SIZE,
        patch_size=8,
        width=64,
        layers=8,
        heads=4,
        embed_dim=64,
        text_width=64,
        text_layers=2,
        text_heads=4,
        context_length=CONTEXT_LENGTH,
        vocab_size=mini_tokenizer().vocab_size,
        activation="quick_gelu",
    )


def new_clip(config: ClipConfig, *, seed: int) -> ClipModel:
    """Return a CLIP with random weights that the seed alone decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ClipModel(config)


def normalise(
    images: UInt8[np.ndarray, "pictures height width 3"],
) -> Float[Tensor, "pictures 3 height width"]:
    """Return channel-first pixels as the image tower expects them."""
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float()
    return (pixels - torch.tensor(PIXEL_MEAN)[:, None, None]) / torch.tensor(PIXEL_STD)[:, None, None]


def draw_pictures(rng: np.random.Generator, count: int) -> world.Pictures:
    """Draw a batch: two fifths windows into scenes, a quarter single things, the rest close-ups."""
    num_crops = round(0.4 * count)
    num_objects = round(0.25 * count)
    plan = world.join(
        [
            world.plan_crops(rng, num_crops),
            world.plan_objects(rng, num_objects),
            world.plan_close_ups(rng, count - num_crops - num_objects),
        ]
    )
    return world.render(rng, plan, size=world.CROP_SIZE)


def draw_crops(rng: np.random.Generator, count: int) -> tuple[world.Pictures, list[str]]:
    """Draw small pictures, each captioned with all that it shows."""
    pictures = draw_pictures(rng, count)
    return pictures, captions(rng, names_in_view(pictures.labels))


def draw_scenes(rng: np.random.Generator, count: int) -> tuple[world.Pictures, list[str]]:
    """Draw whole scenes, each captioned with a random part of what it shows."""
    pictures = world.render(rng, world.plan_scenes(rng, count), size=world.SCENE_SIZE)
    return pictures, captions(rng, some_of(rng, names_in_view(pictures.labels)))


Draw = Callable[[np.random.Generator, int], tuple[world.Pictures, list[str]]]


@dataclass(frozen=True)
class Stage:
    """A part of the pretraining: what is drawn, from which random stream, for how long, at what highest rate."""

    name: str
    stream: int
    draw: Draw
    steps: int
    batch_size: int
    lr: float


STAGES = (
    Stage("crops", 0, draw_crops, steps=2400, batch_size=96, lr=2e-3),
    Stage("scenes", 1, draw_scenes, steps=500, batch_size=64, lr=1e-3),
)
"""What the shipped weights were made with."""


def info_nce(
    image_vectors: Float[Tensor, "batch embed"],
    text_vectors: Float[Tensor, "batch embed"],
    scale: Float[Tensor, ""],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return CLIP's loss, the mean of both directions' cross-entropy, and the retrieval accuracy.

    Two pictures with the very same caption share its vector; each then asks for an equal part of
    the probability, so such pairs pull nothing apart and need no mask.
    """
    logits = scale * F.normalize(image_vectors, dim=-1) @ F.normalize(text_vectors, dim=-1).T
    own = torch.arange(len(logits), device=logits.device)
    loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    return loss, (logits.argmax(dim=1) == own).float().mean()


def learning_rate_at(step: int, *, steps: int, lr: float, warmup_steps: int) -> float:
    """Return the rate of step 0, 1, ...: linear warm-up, then a cosine down to nothing."""
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    return lr * 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))


def pretrain(
    clip: ClipModel,
    stage: Stage,
    *,
    seed: int,
    warmup_steps: int = 100,
    weight_decay: float = 0.05,
    tokenizer: Tokenizer | None = None,
) -> Iterator[PretrainReport]:
    """Train `clip` in place through one stage, one optimiser step per item, and report each step.

    The next batch is drawn on a thread beside the step; one generator draws all batches in
    order, so the seed decides them. AdamW; vectors and gains are not decayed.

    Raises:
        ValueError: the stage's steps or batch size are too small to train on.
    """
    if stage.steps < 1 or stage.batch_size < 8:
        raise ValueError(
            f"steps={stage.steps}, batch_size={stage.batch_size}; at least 1 step of 8 pictures is needed"
        )
    tokenize = tokenizer or mini_tokenizer()
    device = clip.logit_scale.device
    decayed = [weight for weight in clip.parameters() if weight.ndim >= 2]
    plain = [weight for weight in clip.parameters() if weight.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=stage.lr,
        betas=(0.9, 0.98),
        eps=1e-6,
    )
    clip.train()
    for step, (pixels, tokens) in enumerate(_batches(tokenize, stage, seed=seed)):
        rate = learning_rate_at(
            step, steps=stage.steps, lr=stage.lr, warmup_steps=min(warmup_steps, stage.steps)
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        image_vectors = clip.visual.encode_image(pixels.to(device))
        text_vectors = clip.text.encode_text(tokens.to(device))
        loss, accuracy = info_nce(image_vectors, text_vectors, clip.logit_scale.exp())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(max=math.log(LARGEST_LOGIT_SCALE))
        yield PretrainReport(step + 1, loss.item(), accuracy.item(), rate, clip.logit_scale.exp().item())
    clip.eval()


def zero_shot_accuracy(
    clip: ClipModel, *, seed: int, num_pictures: int = 960, tokenizer: Tokenizer | None = None
) -> ZeroShotAccuracy:
    """Return top-1 over all thing classes on held-out pictures of single things."""
    rng = np.random.default_rng([HELD_OUT_STREAM, seed, 0])
    plan = world.plan_objects(rng, num_pictures)
    pictures = world.render(rng, plan, size=clip.config.image_size)
    vectors = class_vectors(clip.text, tokenizer or mini_tokenizer(), THINGS, CLASS_TEMPLATES)
    scores = _in_batches(clip, pictures.images, patches=False) @ vectors.cpu().T
    truth = np.array([THINGS.index(CLASSES[index]) for index in plan.things[:, 0]])
    return _accuracy(scores.argmax(dim=-1).numpy(), truth, THINGS)


def patch_accuracy(
    clip: ClipModel,
    *,
    seed: int,
    num_pictures: int = 300,
    purity: float = 0.75,
    tokenizer: Tokenizer | None = None,
) -> ZeroShotAccuracy:
    """Return how often a last-layer patch vector is nearest its class's text vector, over all classes.

    A diagnostic of how ready the frozen tower is for segmentation, on held-out whole scenes; only
    patches of which one class covers at least `purity` count. It never trains anything.
    """
    rng = np.random.default_rng([HELD_OUT_STREAM, seed, 1])
    pictures = world.render(rng, world.plan_scenes(rng, num_pictures), size=world.SCENE_SIZE)
    vectors = class_vectors(clip.text, tokenizer or mini_tokenizer(), CLASSES, CLASS_TEMPLATES)
    scores = _in_batches(clip, pictures.images, patches=True) @ vectors.cpu().T
    share, truth = _majority(pictures.labels, clip.config.patch_size)
    pure = share >= purity
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


def _batches(
    tokenize: Tokenizer, stage: Stage, *, seed: int
) -> Iterator[tuple[Float[Tensor, "batch 3 height width"], Int[Tensor, "batch context"]]]:
    rng = np.random.default_rng([PRETRAINING_STREAM, seed, stage.stream])

    def draw() -> tuple[Tensor, Tensor]:
        pictures, texts = stage.draw(rng, stage.batch_size)
        return normalise(pictures.images), tokenize(texts)

    with ThreadPoolExecutor(max_workers=1) as pool:
        upcoming = pool.submit(draw)
        for step in range(stage.steps):
            batch = upcoming.result()
            if step + 1 < stage.steps:
                upcoming = pool.submit(draw)
            yield batch


@torch.no_grad()
def _in_batches(
    clip: ClipModel,
    images: UInt8[np.ndarray, "pictures height width 3"],
    *,
    patches: bool,
    batch_size: int = 64,
) -> Float[Tensor, "*rows embed"]:
    device = clip.logit_scale.device
    rows = []
    for start in range(0, len(images), batch_size):
        pixels = normalise(images[start : start + batch_size]).to(device)
        vectors = patch_vectors(clip, pixels) if patches else clip.visual.encode_image(pixels)
        rows.append(F.normalize(vectors, dim=-1).cpu())
    return torch.cat(rows)


def _majority(
    labels: UInt8[np.ndarray, "pictures height width"], patch_size: int
) -> tuple[Float32[np.ndarray, "pictures patches"], Int[np.ndarray, "pictures patches"]]:
    """Return, per patch, the share of its most frequent class and that class."""
    count, side = len(labels), labels.shape[1] // patch_size
    cells = labels.reshape(count, side, patch_size, side, patch_size).transpose(0, 1, 3, 2, 4)
    cells = cells.reshape(count, side * side, -1)
    shares = np.stack(
        [(cells == index).mean(axis=-1, dtype=np.float32) for index in range(len(CLASSES))], axis=-1
    )
    return shares.max(axis=-1), shares.argmax(axis=-1)


def _accuracy(
    predicted: Int[np.ndarray, " rows"], truth: Int[np.ndarray, " rows"], names: Sequence[str]
) -> ZeroShotAccuracy:
    per_class = {
        name: float((predicted[truth == index] == index).mean())
        for index, name in enumerate(names)
        if (truth == index).any()
    }
    seen = [value for name, value in per_class.items() if name not in UNSEEN]
    unseen = [value for name, value in per_class.items() if name in UNSEEN]
    return ZeroShotAccuracy(float(np.mean(seen)), float(np.mean(unseen)), per_class)
