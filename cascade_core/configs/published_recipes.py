"""The recipes at full size: the published runs, and other methods on the same data."""

from typing import Literal

from cascade_core.configs.backbones import CLIP_VIT_B16
from cascade_core.configs.cat_seg import FULL_SIZE, HEAD, TUNED, without_head
from cascade_core.configs.changes import variant, with_overrides
from cascade_core.configs.config import (
    DataConfig,
    EvalConfig,
    RunConfig,
    SelfTrainConfig,
    TrainConfig,
)
from cascade_core.configs.model import ModelConfig
from cascade_core.configs.otseg import otseg_changes
from cascade_core.configs.templates import CLIP_TEMPLATES_15, SINGLE_TEMPLATE
from cascade_core.configs.themes.cascade import TRAINED_PROJECTIONS
from cascade_core.configs.themes.peers import SPT_SEG
from cascade_core.configs.themes.scoring import AT_INFERENCE, PATCH_COSINE, PICTURE_COSINE
from cascade_core.configs.themes.zegclip import NO_PROMPTS

CASCADE_GROUPS = ((5, 6, 7), (8, 9, 10))
PUBLISHED_COSINES = {
    **AT_INFERENCE,
    "model.picture_cosine": round(PICTURE_COSINE * 100 / 7, 1),
    "model.patch_cosine": round(PATCH_COSINE * 100 / 7, 1),
}
"""The mini benchmark's weights for OpenAI's CLIP: its softmax has a scale of 100, the mini CLIP's one of 7. Not run."""


def zegclip_voc12() -> RunConfig:
    """ZegCLIP on Pascal VOC 15/5: 20k iterations, 10 prompts."""
    return _published("zegclip", "voc12", num_prompts=10)


def cascade_voc12() -> RunConfig:
    """Cascade-CLIP on Pascal VOC 15/5: 20k iterations, 10 prompts; self-training at batch 32."""
    return _published("cascade", "voc12", num_prompts=10, self_train_batch=32)


def cascade_context59() -> RunConfig:
    """Cascade-CLIP on Pascal Context 49/10, with the split of its released code: 40k iterations, 35 prompts."""
    return _published("cascade", "context59", num_prompts=35)


def zegclip_cocostuff() -> RunConfig:
    """ZegCLIP on COCO-Stuff 156/15: 80k iterations, 100 prompts."""
    return _published("zegclip", "cocostuff", num_prompts=100)


def cascade_cocostuff() -> RunConfig:
    """Cascade-CLIP on COCO-Stuff 156/15: 80k iterations, 50 prompts."""
    return _published("cascade", "cocostuff", num_prompts=50)


def spt_seg_voc12() -> RunConfig:
    """SPT-SEG on Pascal VOC 15/5, with ZegCLIP's prompts and schedule."""
    return variant(zegclip_voc12(), "spt_seg_voc12", "spt_seg", SPT_SEG)


def spt_seg_cascade_voc12() -> RunConfig:
    """SPT-SEG with Cascade on Pascal VOC 15/5."""
    return variant(cascade_voc12(), "spt_seg_cascade_voc12", "spt_seg_cascade", SPT_SEG)


def spt_seg_cocostuff() -> RunConfig:
    """SPT-SEG on COCO-Stuff 156/15, with ZegCLIP's prompts and schedule."""
    return variant(zegclip_cocostuff(), "spt_seg_cocostuff", "spt_seg", SPT_SEG)


def spt_seg_cascade_cocostuff() -> RunConfig:
    """SPT-SEG with Cascade on COCO-Stuff 156/15."""
    return variant(cascade_cocostuff(), "spt_seg_cascade_cocostuff", "spt_seg_cascade", SPT_SEG)


def frozen_voc12() -> RunConfig:
    """ZegCLIP's decoder on the frozen CLIP, Pascal VOC 15/5."""
    return variant(zegclip_voc12(), "frozen_voc12", "zegclip_no_prompts", NO_PROMPTS)


def frozen_cascade_voc12() -> RunConfig:
    """Cascade-CLIP's decoders on the frozen CLIP, Pascal VOC 15/5."""
    return variant(cascade_voc12(), "frozen_cascade_voc12", "frozen_cascade", NO_PROMPTS)


def frozen_cocostuff() -> RunConfig:
    """ZegCLIP's decoder on the frozen CLIP, COCO-Stuff 156/15."""
    return variant(zegclip_cocostuff(), "frozen_cocostuff", "zegclip_no_prompts", NO_PROMPTS)


def frozen_cascade_cocostuff() -> RunConfig:
    """Cascade-CLIP's decoders on the frozen CLIP, COCO-Stuff 156/15."""
    return variant(cascade_cocostuff(), "frozen_cascade_cocostuff", "frozen_cascade", NO_PROMPTS)


def plus_voc12() -> RunConfig:
    """Cascade-CLIP on Pascal VOC 15/5, with cosines of text, picture and patches in its masks at inference; not run."""
    return variant(cascade_voc12(), "plus_voc12", "plus", PUBLISHED_COSINES)


def plus_cocostuff() -> RunConfig:
    """Cascade-CLIP on COCO-Stuff 156/15, with cosines of text, picture and patches in its masks at inference; not run."""
    return variant(cascade_cocostuff(), "plus_cocostuff", "plus", PUBLISHED_COSINES)


def plus_projections_voc12() -> RunConfig:
    """Cascade-CLIP on Pascal VOC 15/5 with middle projections that train; not run."""
    return variant(cascade_voc12(), "plus_projections_voc12", "plus_projections", TRAINED_PROJECTIONS)


def plus_projections_cocostuff() -> RunConfig:
    """Cascade-CLIP on COCO-Stuff 156/15 with middle projections that train; not run."""
    return variant(cascade_cocostuff(), "plus_projections_cocostuff", "plus_projections", TRAINED_PROJECTIONS)


def otseg_voc12() -> RunConfig:
    """OTSeg+ on Pascal VOC 15/5: 20k iterations, 10 prompts, six texts per class."""
    return with_overrides(zegclip_voc12(), otseg_changes("voc12"))


def otseg_context59() -> RunConfig:
    """OTSeg+ on Pascal Context 49/10: 40k iterations, 10 prompts, eight texts per class, windows of 480 at stride 80."""
    return with_overrides(_published("zegclip", "context59", num_prompts=10), otseg_changes("context59"))


def otseg_cocostuff() -> RunConfig:
    """OTSeg+ on COCO-Stuff 156/15: 80k iterations, 100 prompts, eight texts per class."""
    return with_overrides(zegclip_cocostuff(), otseg_changes("cocostuff"))


def cat_seg_cocostuff() -> RunConfig:
    """CAT-Seg, trained on all 171 classes of COCO-Stuff: 80k iterations at batch 4, with queries and values of both towers."""
    return variant(cat_seg_frozen_cocostuff(), "cat_seg_cocostuff", "cat_seg", TUNED)


def cat_seg_voc12() -> RunConfig:
    """CAT-Seg on Pascal VOC 15/5, with the settings for COCO-Stuff: its authors tested no such split."""
    return variant(cat_seg_frozen_voc12(), "cat_seg_voc12", "cat_seg", TUNED)


def cat_seg_frozen_cocostuff() -> RunConfig:
    """CAT-Seg's head on the frozen CLIP, trained on all 171 classes of COCO-Stuff: 80k iterations at batch 4.

    Its authors fine-tune CLIP besides.
    """
    return _cat_seg_frozen("cocostuff", "cocostuff-171")


def cat_seg_frozen_voc12() -> RunConfig:
    """CAT-Seg's head on the frozen CLIP, Pascal VOC 15/5, with the settings for COCO-Stuff: its authors tested no such split."""
    return _cat_seg_frozen("voc12", "voc12-15-5")


def _cat_seg_frozen(data: str, protocol: str) -> RunConfig:
    return with_overrides(without_head(CLIP_VIT_B16, data, protocol), {**HEAD, **FULL_SIZE})


def _published(
    method: Literal["zegclip", "cascade"],
    data: Literal["voc12", "context59", "cocostuff"],
    *,
    num_prompts: int,
    self_train_batch: int = 16,
) -> RunConfig:
    """Build a run of the authors' configuration files, at batch 16 (4 processes of 4)."""
    protocol, iterations, templates = {
        "voc12": ("voc12-15-5", 20_000, SINGLE_TEMPLATE),
        "context59": ("context59-released", 40_000, CLIP_TEMPLATES_15),
        "cocostuff": ("cocostuff-156-15", 80_000, CLIP_TEMPLATES_15),
    }[data]
    cascade = method == "cascade"
    return RunConfig(
        recipe=f"{method}_{data}",
        method="cascade_clip" if cascade else "zegclip",
        model=ModelConfig(
            clip=CLIP_VIT_B16,
            image_size=512,
            num_prompts=num_prompts,
            fusion="cascade" if cascade else "none",
            groups=CASCADE_GROUPS if cascade else (),
        ),
        data=DataConfig(protocol=protocol, crop_size=512, templates=templates),
        train=TrainConfig(iterations=iterations, batch_size=16, workers=4),
        self_train=SelfTrainConfig(batch_size=self_train_batch),
        evaluate=EvalConfig(),
    )


# Names are derived from the functions, in the order they should be listed.
RECIPES = (
    zegclip_voc12,
    cascade_voc12,
    cascade_context59,
    zegclip_cocostuff,
    cascade_cocostuff,
    spt_seg_voc12,
    spt_seg_cascade_voc12,
    spt_seg_cocostuff,
    spt_seg_cascade_cocostuff,
    frozen_voc12,
    frozen_cascade_voc12,
    frozen_cocostuff,
    frozen_cascade_cocostuff,
    plus_voc12,
    plus_cocostuff,
    plus_projections_voc12,
    plus_projections_cocostuff,
    otseg_voc12,
    otseg_context59,
    otseg_cocostuff,
    cat_seg_frozen_voc12,
    cat_seg_frozen_cocostuff,
    cat_seg_voc12,
    cat_seg_cocostuff,
)
