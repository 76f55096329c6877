"""A whole training step, compared with the published computation: `python -m benchmarks.training_step`.

Cascade-CLIP and ZegCLIP on a ViT-B/16 with random weights: forward, loss, backward and AdamW, batch 2, 512 x 512
pixels, the 156 seen classes of COCO-Stuff, float32 on a CPU. Other recipes may be given as arguments.
"""

import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks import loss, plain
from benchmarks.compare import compare, surroundings
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.recipes import recipe
from cascade_core.losses.focal_dice import segmentation_loss
from cascade_core.model.build import build_segmentor
from cascade_core.train.optim import build_optimizer

BATCH, CLASSES, SIDE = 2, 156, 512
RECIPES = ("cascade_cocostuff", "zegclip_cocostuff")


def make(name: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """Build the model and one batch; both functions update the same weights, which does not change their cost."""
    config = recipe(name)
    torch.manual_seed(0)
    segmentor = build_segmentor(config.model, VisionTransformer(config.model.clip), seed=0).train()
    optimizer = build_optimizer(segmentor, config.optim)
    images = torch.randn(BATCH, 3, SIDE, SIDE)
    vectors = torch.nn.functional.normalize(torch.randn(CLASSES, config.model.clip.embed_dim), dim=-1)
    labels = loss.region_labels(BATCH, SIDE, generator=torch.Generator().manual_seed(0))

    def step(total: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()

    def ours() -> None:
        logits = segmentor.grid_logits(images, vectors)
        step(segmentation_loss(logits, labels, config.loss, mask_size=(SIDE, SIDE)).total)

    def published() -> None:
        terms = plain.loss(plain.grid_logits(segmentor, images, vectors), labels, config.loss)
        step(terms["focal"] + terms["dice"])

    return ours, published


if __name__ == "__main__":
    print(surroundings())
    for name in sys.argv[1:] or RECIPES:
        print(compare(f"training step of {name}", partial(make, name)).line(), flush=True)
