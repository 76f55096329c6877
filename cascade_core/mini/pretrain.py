"""Contrastive pretraining of the tiny CLIP on pictures made on the fly, and its zero-shot checks.

The only training signal is the symmetric InfoNCE loss of CLIP (Radford et al.
2021, figure 3). Pictures are a mixture of windows into scenes, single things
and close-ups that one material fills: the close-ups and the small windows are
what makes patch vectors, not only whole pictures, tell patterns apart. Two later
stages have the size that segmentation uses, as CLIP's own training ended at a higher
resolution, and captions that name some of what is there: whole scenes first, which
teach the global embedding which of several classes are present, on which the
relationship descriptor relies; then scenes among single things and close-ups, which
keep apart classes that share their colours.
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

from cascade_core.clip.model import ClipModel
from cascade_core.clip.tokenizers import WordTokenizer
from cascade_core.configs.backbones import MINI_CLIP
from cascade_core.configs.config import ClipConfig
from cascade_core.errors import UserError
from cascade_core.mini import world
from cascade_core.mini.captions import captions, names_in_view, some_of
from cascade_core.mini.vocabulary import WORDS

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""Pixels in 0..255 less the mean, over the deviation: the same in pretraining and segmentation."""

PRETRAINING_STREAM, HELD_OUT_STREAM = 0, 1
"""First word of the seeds: no picture of one stream is ever drawn in another (see `voc_layout`)."""

LARGEST_LOGIT_SCALE = 7.0
"""CLIP stops at 100. With 24 words that lets class vectors huddle by colour and still win every comparison;
a soft softmax has to hold them apart, patterns too (`docs/results/choices.md` has the figures)."""


@dataclass(frozen=True)
class PretrainReport:
    """What one optimiser step did; `accuracy` is how often a picture found its own caption in the batch."""

    step: int
    loss: float
    accuracy: float
    learning_rate: float
    logit_scale: float


def new_clip(config: ClipConfig, *, seed: int) -> ClipModel:
    """Return a CLIP with random weights that the seed alone decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ClipModel(config)


def mini_tokenizer() -> WordTokenizer:
    """Return the tokenizer of the shipped tiny CLIP."""
    return WordTokenizer(WORDS, MINI_CLIP.context_length)


def normalise(images: world.Images) -> Float[Tensor, "pictures 3 height width"]:
    """Return channel-first pixels as the image tower expects them."""
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float()
    return (pixels - torch.tensor(PIXEL_MEAN)[:, None, None]) / torch.tensor(PIXEL_STD)[:, None, None]


def draw_pictures(rng: np.random.Generator, count: int) -> world.Pictures:
    """Draw a batch: two fifths windows into scenes, a quarter single things, the rest close-ups."""
    crops = world.plan_crops(rng, round(0.4 * count))
    return _with_things(rng, crops, round(0.25 * count), count, size=world.CROP_SIZE)


def _with_things(
    rng: np.random.Generator, plan: world.Plan, num_objects: int, count: int, *, size: int
) -> world.Pictures:
    """Draw what is planned, then single things, and close-ups up to `count` pictures."""
    objects = world.plan_objects(rng, num_objects)
    close_ups = world.plan_close_ups(rng, count - len(plan) - num_objects)
    return world.render(rng, world.join([plan, objects, close_ups]), size=size)


def draw_crops(rng: np.random.Generator, count: int) -> tuple[world.Pictures, list[str]]:
    """Draw small pictures, each captioned with all that it shows."""
    pictures = draw_pictures(rng, count)
    return pictures, captions(rng, names_in_view(pictures.labels))


def draw_scenes(rng: np.random.Generator, count: int) -> tuple[world.Pictures, list[str]]:
    """Draw whole scenes, each captioned with a random part of what it shows."""
    pictures = world.render(rng, world.plan_scenes(rng, count), size=world.SCENE_SIZE)
    return pictures, captions(rng, some_of(rng, names_in_view(pictures.labels)))


def draw_scenes_and_things(rng: np.random.Generator, count: int) -> tuple[world.Pictures, list[str]]:
    """Draw half scenes, the rest single things and close-ups, each captioned with a random part of it."""
    scenes = world.plan_scenes(rng, count // 2)
    pictures = _with_things(rng, scenes, count // 4, count, size=world.SCENE_SIZE)
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
    Stage("scenes", 1, draw_scenes, steps=800, batch_size=64, lr=1e-3),
    Stage("scenes and things", 2, draw_scenes_and_things, steps=3000, batch_size=64, lr=1e-3),
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
) -> Iterator[PretrainReport]:
    """Train `clip` in place through one stage, one optimiser step per item, and report each step.

    The next batch is drawn on a thread beside the step; one generator draws all batches in
    order, so the seed decides them. AdamW; vectors and gains are not decayed.

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
    clip.train()
    for step, (pixels, tokens) in enumerate(_batches(stage, seed=seed)):
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


def _batches(
    stage: Stage, *, seed: int
) -> Iterator[tuple[Float[Tensor, "batch 3 height width"], Int[Tensor, "batch context"]]]:
    rng, tokenize = np.random.default_rng([PRETRAINING_STREAM, seed, stage.stream]), mini_tokenizer()

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
