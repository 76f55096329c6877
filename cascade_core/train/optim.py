"""AdamW in groups and the published learning-rate schedules."""

import math

from torch import nn
from torch.optim import AdamW

from cascade_core.configs.config import OptimConfig
from cascade_core.model.decoder import names_without_gradient
from cascade_core.model.segmentor import Segmentor


def learning_rate(base: float, iteration: int, total_iterations: int, config: OptimConfig) -> float:
    """Return the learning rate of `iteration` (from 0): polynomial decay, or half a cosine, times a linear warm-up.

    The warm-up multiplies the current polynomial value; iteration `warmup_iterations` is the first unscaled one.
    `min_lr` is absolute: it does not depend on `base`.
    """
    done = iteration / total_iterations
    share = (
        (1 - done) ** config.power if config.schedule == "polynomial" else (1 + math.cos(math.pi * done)) / 2
    )
    decayed = (base - config.min_lr) * share + config.min_lr
    if iteration >= config.warmup_iterations:
        return decayed
    return decayed * (1 - (1 - iteration / config.warmup_iterations) * (1 - config.warmup_ratio))


def build_optimizer(segmentor: Segmentor, config: OptimConfig) -> AdamW:
    """Return AdamW over all trainable weights, in groups: the prompts, the decoder, and what trains of CLIP.

    Published: the same weight decay for all, including biases, norms and prompts. Weights that never get a gradient
    are in no group; AdamW would skip them anyway, without decay.
    """
    dead = names_without_gradient(segmentor)
    groups = [
        {"name": name, "params": _trainable(segmentor, name, dead), "base_lr": rate}
        for name, rate in (
            ("prompts", config.prompt_lr),
            ("decoder", config.decoder_lr),
            ("clip", config.clip_lr),
        )
    ]
    return AdamW(
        [{**group, "lr": group["base_lr"]} for group in groups if group["params"]],
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        weight_decay=config.weight_decay,
        # One kernel updates a weight and its moments.
        fused=True,
    )


def set_learning_rates(optimizer: AdamW, iteration: int, total_iterations: int, config: OptimConfig) -> None:
    """Set every group's learning rate for `iteration`, in place."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(group["base_lr"], iteration, total_iterations, config)


def clip_gradients(optimizer: AdamW, config: OptimConfig) -> None:
    """Scale all gradients down in place, if a norm is configured and their common norm is larger."""
    if config.clip_norm is not None:
        nn.utils.clip_grad_norm_(
            [parameter for group in optimizer.param_groups for parameter in group["params"]], config.clip_norm
        )


def _trainable(segmentor: Segmentor, group: str, dead: set[str]) -> list[nn.Parameter]:
    return [
        parameter
        for name, parameter in segmentor.named_parameters()
        if parameter.requires_grad and _group_of(name) == group and name not in dead
    ]


def _group_of(name: str) -> str:
    if name.startswith(("trunk.visual.", "text.")):
        return "clip"
    return "prompts" if name.startswith("trunk.") else "decoder"
