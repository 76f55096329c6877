"""Contrastive pretraining of a tiny CLIP on pictures drawn on the fly.

The only training signal is CLIP's symmetric InfoNCE loss (Radford et al. 2021, figure 3); `stages` states what is drawn.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from cascade_core.clip.weights import ClipModel
from cascade_core.errors import UserError
from cascade_core.mini.stages import Stage
from cascade_core.mini.world import Images

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""Mean and standard deviation of pixels in 0..255, the same in pretraining and segmentation."""

PRETRAINING_STREAM, HELD_OUT_STREAM = 0, 1
"""First number of the seeds: streams never draw the same picture (`voc_layout` has the others)."""

LARGEST_LOGIT_SCALE = 7.0
"""Upper bound of the logit scale. CLIP's own bound, 100, lets the vectors of the mini benchmark's 24 words cluster by colour and still
rank correctly; a softer softmax has to separate patterns too (`docs/results/choices.md` has the figures)."""


@dataclass(frozen=True)
class PretrainReport:
    """Values of one optimizer step; `accuracy` is the share of pictures that retrieve their caption in the batch."""

    step: int
    loss: float
    accuracy: float
    logit_scale: float


def normalise(images: Images) -> Float[Tensor, "pictures 3 height width"]:
    """Return channel-first, normalised pixels for the image tower."""
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float()
    return (pixels - torch.tensor(PIXEL_MEAN)[:, None, None]) / torch.tensor(PIXEL_STD)[:, None, None]


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
    rng, tokenize = np.random.default_rng([PRETRAINING_STREAM, seed, stage.stream]), stage.world.tokenizer

    def draw() -> tuple[Tensor, Tensor]:
        pictures, texts = stage.draw(rng, stage.batch_size)
        return normalise(pictures.images), tokenize(texts)

    with ThreadPoolExecutor(max_workers=1) as pool:
        upcoming = pool.submit(draw)
        for _ in range(stage.steps - 1):
            batch, upcoming = upcoming.result(), pool.submit(draw)
            yield batch
        yield upcoming.result()
