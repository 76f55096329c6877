"""Recipes of CAT-Seg with the settings of its ViT-B/16 configuration (Cho et al. 2024), at full size and on the mini benchmark.

The authors train on all classes of COCO-Stuff and score other data sets. On splits with unseen classes they tested nothing, and
a seen penalty has no meaning there: a class's logit depends on which other classes there are.
"""

from typing import Any

from cascade_core.configs.config import (
    DataConfig,
    EvalConfig,
    OptimConfig,
    RunConfig,
    SelfTrainConfig,
    TrainConfig,
)
from cascade_core.configs.model import ClipConfig, LastBlock, ModelConfig
from cascade_core.configs.templates import CAT_SEG_TEMPLATE
from cascade_core.configs.training_free import CLIP_MEAN, CLIP_STD

MINI_LR = 2e-3
WINDOW, STRIDE, SQUARE = 384, 256, 640
"""Side and stride of the windows, and side of the square to which pictures are resized."""
LAST_BLOCK = LastBlock(attention="value", residual_of="class_token")
TUNED = {"model.tuned": "queries_values", "model.text": "tokens"}
"""The changes that make the head on a frozen CLIP the published method: both towers train, and the text is encoded in every step."""
CLIP_SHARE = 0.01
"""The learning rate of CLIP's weights is so much of the head's."""
_OPTIM = OptimConfig(
    decoder_lr=2e-4, weight_decay=1e-4, schedule="cosine", min_lr=0.0, warmup_iterations=0, clip_norm=0.01
)

HEAD = {
    "model.trunk": "frozen",
    "model.num_prompts": 0,
    "model.double_class_embedding": False,
    "model.position_resize": "bicubic_exact",
    "model.last_block": LAST_BLOCK.model_dump(),
    "model.decoder": "cost_aggregation",
    "model.head_init": "torch_default",
    "model.mask_size": "input",
    "loss.kind": "binary_cross_entropy",
    **{f"optim.{field}": getattr(_OPTIM, field) for field in _OPTIM.model_fields_set},
    "evaluate.seen_penalty": 0.0,
    "self_train.strict_seen_penalty": 0.0,
}
"""The changes that put the head on a frozen CLIP in the place of another recipe's model; windows and schedule stay that recipe's."""
FULL_SIZE: dict[str, Any] = {
    "model.cost": {},
    "model.decoder_layers": 2,
    "model.decoder_heads": 4,
    "optim.decoder_lr": _OPTIM.decoder_lr,
}
MINI_SIZE: dict[str, Any] = {
    "model.cost": {"width": 32, "window": 4, "class_tokens": 32, "guide_blocks": (2, 4)},
    "model.decoder_layers": 1,
    "model.decoder_heads": 8,
    "optim.decoder_lr": MINI_LR,
}
"""What depends on the CLIP's size: as published, and on the mini benchmark, where the learning rate is ours."""


def without_head(clip: ClipConfig, data: str, protocol: str) -> RunConfig:
    """Return pictures, windows and schedule of the head on a frozen CLIP; `HEAD` and `FULL_SIZE` change the rest."""
    return RunConfig(
        recipe=f"cat_seg_frozen_{data}",
        method="cat_seg_frozen",
        model=ModelConfig(clip=clip, image_size=WINDOW, dropout=0.0),
        data=DataConfig(
            protocol=protocol,
            mean=CLIP_MEAN,
            std=CLIP_STD,
            crop_size=WINDOW,
            # The short side becomes that of a crop.
            resize_range=(1.0, 1.0),
            max_class_share=None,
            templates=CAT_SEG_TEMPLATE,
        ),
        train=TrainConfig(iterations=80_000, batch_size=4, workers=4),
        self_train=SelfTrainConfig(batch_size=4),
        evaluate=EvalConfig(
            mode="slide_and_whole",
            short_side=SQUARE,
            keep_ratio=False,
            crop_size=WINDOW,
            stride=STRIDE,
        ),
    )
