"""Contrastive pretraining of the tiny CLIP on pictures drawn on the fly.

The only training signal is CLIP's symmetric InfoNCE loss (Radford et al. 2021, figure 3). The first stage mixes
windows into scenes, single things, and close-ups that one material fills; small windows and close-ups teach
patch vectors, not only whole pictures, to separate patterns. Two later stages use the picture size of
segmentation, as CLIP's own training ended at a higher resolution, and captions that name a part of the classes.
Whole scenes teach the global embedding which of several classes are present, which the relationship descriptor
needs. The last stage mixes scenes with single things and close-ups, to separate classes that share their colours.
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from cascade_core.clip.tokenizers import WordTokenizer
from cascade_core.clip.weights import ClipModel
from cascade_core.configs.backbones import MINI_CLIP
from cascade_core.errors import UserError
from cascade_core.mini import world
from cascade_core.mini.vocabulary import WORDS, caption, names_in_view, random_part

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""Mean and standard deviation of pixels in 0..255, the same in pretraining and segmentation."""

PRETRAINING_STREAM, HELD_OUT_STREAM = 0, 1
"""First number of the seeds: streams never draw the same picture (`voc_layout` has the others)."""

LARGEST_LOGIT_SCALE = 7.0
"""Upper bound of the logit scale. CLIP's own bound, 100, lets the vectors of 24 words cluster by colour and still
rank correctly; a softer softmax has to separate patterns too (`docs/results/choices.md` has the figures)."""


@dataclass(frozen=True)
class PretrainReport:
    """Values of one optimizer step; `accuracy` is the share of pictures that retrieve their caption in the batch."""

    step: int
    loss: float
    accuracy: float
    logit_scale: float


def mini_tokenizer() -> WordTokenizer:
    """Return the tokenizer of the shipped tiny CLIP."""
    return WordTokenizer(WORDS, MINI_CLIP.context_length)


def normalise(images: world.Images) -> Float[Tensor, "pictures 3 height width"]:
    """Return channel-first, normalised pixels for the image tower."""
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float()
    return (pixels - torch.tensor(PIXEL_MEAN)[:, None, None]) / torch.tensor(PIXEL_STD)[:, None, None]


@dataclass(frozen=True)
class Stage:
    """A part of the pretraining: its pictures, their captions, and the schedule."""

    name: str
    stream: int  # third number of the seeds
    plan: Callable[[np.random.Generator, int], world.Plan]
    size: int  # side of the pictures, in pixels
    name_all: bool  # whether captions name all classes in view, or a random part of them
    steps: int
    batch_size: int
    lr: float  # the highest learning rate

    def draw(self, rng: np.random.Generator, count: int) -> tuple[world.Pictures, list[str]]:
        """Draw `count` pictures and a caption of each."""
        pictures = world.render(rng, self.plan(rng, count), size=self.size)
        names = names_in_view(pictures.labels)
        if not self.name_all:
            names = [random_part(rng, in_view) for in_view in names]
        return pictures, [caption(rng, mentioned) for mentioned in names]


def plan_mixture(rng: np.random.Generator, count: int) -> world.Plan:
    """Plan two fifths windows into scenes, a quarter single things, and close-ups for the rest."""
    return _with_things(rng, world.plan_crops(rng, round(0.4 * count)), round(0.25 * count), count)


def plan_scenes_and_things(rng: np.random.Generator, count: int) -> world.Plan:
    """Plan one half scenes, a quarter single things, and close-ups for the rest."""
    return _with_things(rng, world.plan_scenes(rng, count // 2), count // 4, count)


def _with_things(rng: np.random.Generator, plan: world.Plan, num_objects: int, count: int) -> world.Plan:
    objects = world.plan_objects(rng, num_objects)
    return world.join([plan, objects, world.plan_close_ups(rng, count - len(plan) - num_objects)])


STAGES = (
    Stage("crops", 0, plan_mixture, world.CROP_SIZE, True, 2400, 96, 2e-3),
    Stage("scenes", 1, world.plan_scenes, world.SCENE_SIZE, False, 800, 64, 1e-3),
    Stage("scenes and things", 2, plan_scenes_and_things, world.SCENE_SIZE, False, 3000, 64, 1e-3),
)
"""The stages that made the shipped weights."""


def info_nce(
    image_vectors: Float[Tensor, "batch embed"],
    text_vectors: Float[Tensor, "batch embed"],
    scale: Float[Tensor, ""],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return CLIP's loss (the mean of both directions' cross-entropy) and the retrieval accuracy.

    Pictures with equal captions need no mask: their captions share one vector and split the probability equally,
    so that the loss does not separate them.
    """
    logits = scale * F.normalize(image_vectors, dim=-1) @ F.normalize(text_vectors, dim=-1).T
    own = torch.arange(len(logits), device=logits.device)
    loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    return loss, (logits.argmax(dim=1) == own).float().mean()


def learning_rate_at(step: int, *, steps: int, lr: float, warmup_steps: int) -> float:
    """Return the learning rate of the 0-based `step`: linear warm-up, then cosine decay to zero."""
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    return lr * 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))


def pretrain(
    clip: ClipModel, stage: Stage, *, seed: int, warmup_steps: int = 100
) -> Iterator[PretrainReport]:
    """Train `clip` in place through one stage; yield a report after each optimizer step.

    AdamW decays matrices, not biases and gains. A thread draws the next batch during a step, with one generator for
    all batches in order, so that the seed decides them.

    Raises:
        UserError: the stage's steps or batch size are too small to train on.
    """
    if stage.steps < 1 or stage.batch_size < 8:
        raise UserError(
            f"steps={stage.steps}, batch_size={stage.batch_size}; at least 1 step of 8 pictures is needed"
        )
    device = clip.logit_scale.device
    decayed = [weight for weight in clip.parameters() if weight.ndim >= 2]
    plain = [weight for weight in clip.parameters() if weight.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
        lr=stage.lr,
        betas=(0.9, 0.98),
        eps=1e-6,
    )
    warmup_steps = min(warmup_steps, stage.steps)
    clip.train()
    for step, (pixels, tokens) in enumerate(_batches(stage, seed=seed)):
        rate = learning_rate_at(step, steps=stage.steps, lr=stage.lr, warmup_steps=warmup_steps)
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
        yield PretrainReport(step + 1, loss.item(), accuracy.item(), clip.logit_scale.exp().item())
    clip.eval()


def _batches(
    stage: Stage, *, seed: int
) -> Iterator[tuple[Float[Tensor, "batch 3 height width"], Int[Tensor, "batch context"]]]:
    """Prefetch each batch in a background thread."""
    rng, tokenize = np.random.default_rng([PRETRAINING_STREAM, seed, stage.stream]), mini_tokenizer()

    def draw() -> tuple[Tensor, Tensor]:
        pictures, texts = stage.draw(rng, stage.batch_size)
        return normalise(pictures.images), tokenize(texts)

    with ThreadPoolExecutor(max_workers=1) as pool:
        upcoming = pool.submit(draw)
        for _ in range(stage.steps - 1):
            batch, upcoming = upcoming.result(), pool.submit(draw)
            yield batch
        yield upcoming.result()
