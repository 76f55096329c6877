"""Compile small segmentors: `python -m tests.cascade_core.train.compiling one_graph` (or another of `FUNCTIONS`).

A method's name may be followed by another backend than `aot_eager`, such as `inductor`, which takes some minutes.

It runs in its own process, because torch cannot compile the tests' shape checks. It prints JSON.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._dynamo.utils import counters

from cascade_core.batches.samples import Batch
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import Compile, OptimConfig
from cascade_core.model import optimal_transport
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from cascade_core.model.sinkhorn import sinkhorn
from cascade_core.train.loop import train
from cascade_core.train.optim import build_optimizer
from cascade_core.train.supervision import Supervision
from cascade_core.train.training_maps import data_parallel, half_precision
from tests.cascade_core.model.small import CASCADE, METHODS, classes_for, segmentor
from tests.tiny import TINY_CLIP, tiny_config

STEPS = 3


def one_graph() -> dict[str, float]:
    """Trace Cascade-CLIP, which contains all of ZegCLIP, with dropout; return the differences to the plain model.

    Training runs as in distributed training, in a process group of one.
    """
    vectors, images = nn.functional.normalize(torch.randn(5, 12), dim=-1), torch.randn(2, 3, 32, 32)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    differences = {}
    for training in (True, False):
        model = segmentor(**CASCADE, dropout=0.5).train(training)
        traced = torch.compile(model.training_maps, fullgraph=True, dynamic=False, backend="eager")
        logits = []
        for call in (model.training_maps, data_parallel(model, traced) if training else traced):
            torch.manual_seed(3)
            with torch.set_grad_enabled(training):
                logits.append(call(images, vectors)[0].detach())
        differences["training" if training else "inference"] = float((logits[0] - logits[1]).abs().max())
    dist.destroy_process_group()
    differences["gradients in bf16"] = _gradients_in_half_precision(images, vectors)
    return {**differences, "graphs": counters["stats"]["unique_graphs"]}


def _gradients_in_half_precision(images: Tensor, vectors: Tensor) -> float:
    """Return the relative difference of gradients under autocast between the traced and the plain model.

    Without dropout: a traced backward pass may draw it differently.
    """
    model = segmentor(**CASCADE, dropout=0.0).train()
    return _differences(model, images, vectors, mixed=True)[1]


def maps_and_gradients(backend: str = "aot_eager", **changes: Any) -> dict[str, float]:
    """Compile a method's training in single precision; return how far maps and gradients are from the plain model's.

    Three iterations of a transport plan: each adds to the graph, and 50 take half a minute.
    """
    model = segmentor(**changes, dropout=0.0).train()
    with patch.object(optimal_transport, "sinkhorn", partial(sinkhorn, iterations=3)):
        maps, gradients = _differences(
            model, torch.randn(2, 3, 32, 32), classes_for(model), mixed=False, backend=backend
        )
    return {"maps": maps, "gradients": gradients, "graphs": counters["stats"]["unique_graphs"]}


def _differences(
    model: Segmentor, images: Tensor, classes: Tensor, *, mixed: bool, backend: str = "aot_eager"
) -> list[float]:
    """Return the relative difference between the traced and the plain model, of the maps and of the gradients."""
    traced = torch.compile(model.training_maps, fullgraph=True, dynamic=False, backend=backend)
    values = []
    for call in (model.training_maps, traced):
        model.zero_grad(set_to_none=True)
        with half_precision(torch.device("cpu"), mixed):
            maps = torch.cat([one.flatten() for one in call(images, classes)])
        maps.square().sum().backward()
        gradients = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
        values.append((maps.detach(), torch.cat(gradients)))
    return [float((one - other).norm() / one.norm()) for one, other in zip(*values, strict=True)]


def three_steps(device: str = "cpu") -> dict[str, Any]:
    """Train Cascade-CLIP plain and compiled; return the losses and the number of graphs compiled so far.

    Without dropout: kernels draw it differently.
    """
    return {
        choice: [_losses(choice, torch.device(device)), counters["stats"]["unique_graphs"]]
        for choice in ("never", "always")
    }


def _losses(choice: Compile, device: torch.device) -> list[float]:
    config = tiny_config()
    config = config.model_copy(
        update={
            "model": config.model.model_copy(update={"dropout": 0.0}),
            "optim": OptimConfig(warmup_iterations=0),
            "train": config.train.model_copy(update={"compile": choice}),
        }
    )
    torch.manual_seed(0)
    network = build_segmentor(config.model, VisionTransformer(TINY_CLIP), seed=0).to(device)
    split = config.data.split
    reports = train(
        network,
        build_optimizer(network, config.optim),
        [_batch(split.num_classes) for _ in range(STEPS)],
        config=config,
        supervision=Supervision("inductive", split),
        class_vectors=nn.functional.normalize(torch.randn(split.num_classes, TINY_CLIP.embed_dim), dim=-1),
        start=0,
        total=STEPS,
        device=device,
    )
    return [report.loss for report in reports]


def _batch(classes: int) -> Batch:
    labels = torch.randint(0, classes, (2, 32, 32))
    return Batch(("one", "two"), torch.randn(2, 3, 32, 32), labels, torch.zeros(2, 32, 32, dtype=torch.bool))


FUNCTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "one_graph": one_graph,
    "three_steps": three_steps,
    "on_a_gpu": partial(three_steps, "cuda"),
    **{
        method: partial(maps_and_gradients, **METHODS[method])
        for method in ("spt_seg", "otseg", "cat_seg", "cat_seg_frozen")
    },
}

if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print(json.dumps(FUNCTIONS[sys.argv[1]](*sys.argv[2:])))
