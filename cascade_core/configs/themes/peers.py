"""Other methods beside the papers' two, and Cascade on them."""

from collections.abc import Callable
from typing import Any

from cascade_core.configs.cat_seg import CLIP_SHARE, FULL_SIZE, HEAD, MINI_LR, MINI_SIZE, TUNED
from cascade_core.configs.config import RunConfig
from cascade_core.configs.model import CostAggregation
from cascade_core.configs.otseg import TRANSPORT
from cascade_core.configs.themes.theme import LAST_MAP, Cell, CellClaim, Theme
from cascade_core.configs.themes.zegclip import NO_PROMPTS

SPT_SEG = {"model.trunk": "spectral_prompts", "model.decoder": "two_frequency", "loss.kind": "focal_ssim"}
"""SPT-SEG in ZegCLIP's place. Its settings are not public: prompts, schedule and the focal weight are ZegCLIP's."""


def on_small_grids(small: Any, published: Any) -> Callable[[RunConfig], Any]:
    """Return a value for models whose grid is smaller than one of CAT-Seg's windows, such as the mini benchmark's, and one for others."""
    window = CostAggregation().window
    return lambda base: small if base.model.image_size // base.model.clip.patch_size < window else published


_HEAD_SIZES = {key: on_small_grids(value, FULL_SIZE[key]) for key, value in MINI_SIZE.items()}

_clip_lr = on_small_grids(CLIP_SHARE * MINI_LR, CLIP_SHARE * FULL_SIZE["optim.decoder_lr"])

PLUG_IN = Theme(
    "plug_in",
    "Cascade on other methods",
    "cascade",
    "Cascade-CLIP presents its decoders of middle levels as a part that fits other methods, and reports gains on the frozen CLIP, on ZegCLIP and on SPT-SEG.",
    "hiou",
    (
        Cell("zegclip_cascade", "ZegCLIP with Cascade (published)"),
        Cell("zegclip", "ZegCLIP", LAST_MAP),
        Cell("frozen_cascade", "frozen CLIP with Cascade", NO_PROMPTS),
        Cell("frozen", "frozen CLIP", {**NO_PROMPTS, **LAST_MAP}),
        Cell("spt_seg_cascade", "SPT-SEG with Cascade", SPT_SEG),
        Cell("spt_seg", "SPT-SEG", {**SPT_SEG, **LAST_MAP}),
    ),
    tuple(
        CellClaim(f"Cascade helps {title}{where}", "Cascade-CLIP", score, f"{cell}_cascade", cell)
        for cell, title in (("frozen", "the frozen CLIP"), ("zegclip", "ZegCLIP"), ("spt_seg", "SPT-SEG"))
        for score, where in (("hiou", ""), ("miou_unseen", " on unseen classes"))
    ),
)

SPT_PARTS = Theme(
    "spt_seg",
    "SPT-SEG's three parts",
    "none",
    "SPT-SEG adds a spectral prompt, a decoder for two frequencies and a structural loss to ZegCLIP, and reports gains on seen and unseen "
    "classes (on Pascal VOC and COCO-Stuff). Its settings are not public: schedule, prompts and the focal weight are ZegCLIP's here.",
    "hiou",
    (
        Cell("none", "none of the three (ZegCLIP)"),
        Cell("all", "all three (SPT-SEG)", SPT_SEG),
        Cell("no_spectrum", "without the spectral prompt", {**SPT_SEG, "model.trunk": "deep_prompts"}),
        Cell("no_frequencies", "ZegCLIP's decoder", {**SPT_SEG, "model.decoder": "masks"}),
        Cell("no_structure", "dice in place of SSIM", {**SPT_SEG, "loss.kind": "focal_dice"}),
    ),
    (
        CellClaim("SPT-SEG beats ZegCLIP", "SPT-SEG", "hiou", "all", "none"),
        CellClaim("SPT-SEG beats ZegCLIP on unseen classes", "SPT-SEG", "miou_unseen", "all", "none"),
        CellClaim("the spectral prompt helps", "SPT-SEG", "hiou", "all", "no_spectrum"),
        CellClaim("the two frequencies help", "SPT-SEG", "hiou", "all", "no_frequencies"),
        CellClaim("SSIM helps in place of dice", "SPT-SEG", "hiou", "all", "no_structure"),
    ),
)

OTSEG_PATHS = Theme(
    "otseg",
    "OTSeg's paths",
    "none",
    "OTSeg scores the patches against several texts of each class by optimal transport, on a score path and on a decoder path, and adds their "
    "losses; OTSeg+ averages both maps at inference. It reports gains over ZegCLIP on Pascal VOC, Pascal Context and COCO-Stuff.",
    "hiou",
    (
        Cell("zegclip", "ZegCLIP, with the mean of the texts"),
        Cell("both", "both paths (OTSeg+)", TRANSPORT),
        Cell(
            "decoder", "the decoder path alone at inference", {**TRANSPORT, "model.inference_map": "decoder"}
        ),
        Cell("scores", "the score path alone at inference", {**TRANSPORT, "model.inference_map": "scores"}),
    ),
    (
        CellClaim("OTSeg+ beats ZegCLIP", "OTSeg", "hiou", "both", "zegclip"),
        CellClaim("OTSeg+ beats ZegCLIP on unseen classes", "OTSeg", "miou_unseen", "both", "zegclip"),
        CellClaim("both paths beat the decoder path", "OTSeg", "hiou", "both", "decoder"),
        CellClaim("both paths beat the score path", "OTSeg", "hiou", "both", "scores"),
        CellClaim("the decoder path beats ZegCLIP", "here", "hiou", "decoder", "zegclip"),
    ),
)

CAT_SEG = Theme(
    "cat_seg",
    "CAT-Seg's head and tuned towers",
    "none",
    "CAT-Seg embeds the cosines of patches and texts and aggregates them over patches and classes, and fine-tunes queries and values of both "
    "CLIP towers. It reports that tuning both towers matters, and scores other data sets than the one it trains on, never classes that are "
    "unseen in a data set: here its authors tested nothing. The cells keep pictures, windows, templates and schedule of the base recipe.",
    "hiou",
    (
        Cell("zegclip", "ZegCLIP"),
        Cell(
            "tuned",
            "both towers tuned (CAT-Seg)",
            {**HEAD, **_HEAD_SIZES, **TUNED, "optim.clip_lr": _clip_lr},
        ),
        Cell("frozen", "its head on the frozen CLIP", {**HEAD, **_HEAD_SIZES}),
    ),
    (
        CellClaim("tuning both towers helps", "CAT-Seg", "hiou", "tuned", "frozen"),
        CellClaim("tuning both towers helps unseen classes", "here", "miou_unseen", "tuned", "frozen"),
        CellClaim("CAT-Seg beats ZegCLIP", "here", "hiou", "tuned", "zegclip"),
        CellClaim("its head on the frozen CLIP beats the floor", "here", "hiou", "frozen", "floor"),
    ),
)
