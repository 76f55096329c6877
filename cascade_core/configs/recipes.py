"""Recipes: functions that return the complete configuration of a published run or of the mini benchmark's.

An ablation replaces fields of its parent recipe and names no others.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from cascade_core.configs.ablations import SEPARATOR, cell_overrides, cells_of
from cascade_core.configs.backbones import CLIP_VIT_B16, MINI_CLIP, MINI_HARD_CLIP, backbone_changes
from cascade_core.configs.cat_seg import CLIP_SHARE, FULL_SIZE, HEAD, MINI_LR, MINI_SIZE, TUNED, without_head
from cascade_core.configs.config import (
    DataConfig,
    EvalConfig,
    OptimConfig,
    RunConfig,
    SelfTrainConfig,
    TrainConfig,
)
from cascade_core.configs.model import ModelConfig
from cascade_core.configs.otseg import TRANSPORT, otseg_changes
from cascade_core.configs.overrides import refuse_stated
from cascade_core.configs.recipe_file import is_recipe_file, read_recipe_file
from cascade_core.configs.templates import CLIP_TEMPLATES_15, SINGLE_TEMPLATE
from cascade_core.configs.themes.peers import SPT_SEG
from cascade_core.configs.themes.scoring import AT_INFERENCE, PATCH_COSINE, PICTURE_COSINE, TEXT_COSINES
from cascade_core.configs.training_free import LAST_BLOCKS, training_free, without_training
from cascade_core.datasets import mini
from cascade_core.errors import UserError
from cascade_core.labels.label_file import with_label_file
from cascade_core.runtime.listing import brief, by_name
from cascade_core.runtime.validation import first_error

METHOD_NAMES = {
    "zegclip": "ZegCLIP",
    "cascade_clip": "Cascade-CLIP",
    "spt_seg": "SPT-SEG",
    "spt_seg_cascade": "SPT-SEG with Cascade",
    "frozen_cascade": "frozen CLIP with Cascade",
    "naive_fusion": "naive multi-level fusion",
    "zegclip_no_rd": "ZegCLIP without relationship descriptor",
    "zegclip_no_prompts": "ZegCLIP without prompts",
    "decoder_ce": "prompts + decoder, cross-entropy",
    "baseline": "frozen CLIP + decoder, cross-entropy",
    "linear": "linear pixel-text map",
    "otseg": "OTSeg+",
    "cat_seg": "CAT-Seg",
    "cat_seg_frozen": "CAT-Seg's head on the frozen CLIP",
    "plus": "Cascade-CLIP with cosines",
    "maskclip": "MaskCLIP",
    "sclip": "SCLIP",
    "clearclip": "ClearCLIP",
    "naclip": "NACLIP",
}
"""The title of a recipe's `method` in tables and pages; a method that is not listed has its own name as title."""

CASCADE_GROUPS = ((5, 6, 7), (8, 9, 10))
MINI_CASCADE_GROUPS = ((1, 2, 3), (4, 5, 6))
PUBLISHED_COSINES = {
    **AT_INFERENCE,
    "model.picture_cosine": round(PICTURE_COSINE * 100 / 7, 1),
    "model.patch_cosine": round(PATCH_COSINE * 100 / 7, 1),
}
"""The mini benchmark's weights for OpenAI's CLIP: its softmax has a scale of 100, the mini CLIP's one of 7. Not run."""
FROZEN_TRUNK = {"model.trunk": "frozen", "model.num_prompts": 0}


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
    return _changed(zegclip_voc12(), "spt_seg_voc12", "spt_seg", SPT_SEG)


def spt_seg_cascade_voc12() -> RunConfig:
    """SPT-SEG with Cascade on Pascal VOC 15/5."""
    return _changed(cascade_voc12(), "spt_seg_cascade_voc12", "spt_seg_cascade", SPT_SEG)


def spt_seg_cocostuff() -> RunConfig:
    """SPT-SEG on COCO-Stuff 156/15, with ZegCLIP's prompts and schedule."""
    return _changed(zegclip_cocostuff(), "spt_seg_cocostuff", "spt_seg", SPT_SEG)


def spt_seg_cascade_cocostuff() -> RunConfig:
    """SPT-SEG with Cascade on COCO-Stuff 156/15."""
    return _changed(cascade_cocostuff(), "spt_seg_cascade_cocostuff", "spt_seg_cascade", SPT_SEG)


def frozen_voc12() -> RunConfig:
    """ZegCLIP's decoder on the frozen CLIP, Pascal VOC 15/5."""
    return _changed(zegclip_voc12(), "frozen_voc12", "zegclip_no_prompts", FROZEN_TRUNK)


def frozen_cascade_voc12() -> RunConfig:
    """Cascade-CLIP's decoders on the frozen CLIP, Pascal VOC 15/5."""
    return _changed(cascade_voc12(), "frozen_cascade_voc12", "frozen_cascade", FROZEN_TRUNK)


def frozen_cocostuff() -> RunConfig:
    """ZegCLIP's decoder on the frozen CLIP, COCO-Stuff 156/15."""
    return _changed(zegclip_cocostuff(), "frozen_cocostuff", "zegclip_no_prompts", FROZEN_TRUNK)


def frozen_cascade_cocostuff() -> RunConfig:
    """Cascade-CLIP's decoders on the frozen CLIP, COCO-Stuff 156/15."""
    return _changed(cascade_cocostuff(), "frozen_cascade_cocostuff", "frozen_cascade", FROZEN_TRUNK)


def plus_voc12() -> RunConfig:
    """Cascade-CLIP on Pascal VOC 15/5, with cosines of text, picture and patches in its masks at inference; not run."""
    return _changed(cascade_voc12(), "plus_voc12", "plus", PUBLISHED_COSINES)


def plus_cocostuff() -> RunConfig:
    """Cascade-CLIP on COCO-Stuff 156/15, with cosines of text, picture and patches in its masks at inference; not run."""
    return _changed(cascade_cocostuff(), "plus_cocostuff", "plus", PUBLISHED_COSINES)


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
    return _changed(cat_seg_frozen_cocostuff(), "cat_seg_cocostuff", "cat_seg", TUNED)


def cat_seg_voc12() -> RunConfig:
    """CAT-Seg on Pascal VOC 15/5, with the settings for COCO-Stuff: its authors tested no such split."""
    return _changed(cat_seg_frozen_voc12(), "cat_seg_voc12", "cat_seg", TUNED)


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


def mini_zegclip() -> RunConfig:
    """ZegCLIP on the mini benchmark.

    Learning rates, the decoder's initial scale and dropout differ from the published recipes: at an embedding
    width of 64 the default initialisation gives maps too flat to learn from in a few hundred iterations, and
    dropout lowers the scores.
    """
    return RunConfig(
        recipe="mini_zegclip",
        method="zegclip",
        model=ModelConfig(
            clip=MINI_CLIP,
            image_size=64,
            num_prompts=8,
            decoder_heads=4,
            head_init="trunc_normal",
            head_init_std=0.2,
            dropout=0.0,
        ),
        optim=OptimConfig(prompt_lr=2e-3, decoder_lr=2e-2, warmup_iterations=50),
        data=DataConfig(
            protocol="mini-18-6",
            crop_size=64,
            resize_range=(1.0, 1.6),
            max_class_share=None,
            photometric=False,
            templates=mini.TEMPLATES,
        ),
        train=TrainConfig(iterations=900, batch_size=8, checkpoint_every=300),
        self_train=SelfTrainConfig(batch_size=8),
        evaluate=EvalConfig(mode="whole", short_side=None, crop_size=64, stride=48, batch_size=50),
    )


def mini_cascade_clip() -> RunConfig:
    """Cascade-CLIP on the mini benchmark: two groups of three middle blocks, and the last block."""
    return _variant(
        mini_zegclip(), "cascade_clip", {"model.fusion": "cascade", "model.groups": MINI_CASCADE_GROUPS}
    )


def plus_mini() -> RunConfig:
    """Cascade-CLIP on the mini benchmark, with cosines of text, picture and patches at inference; worse than without on test2."""
    return _changed(mini_cascade_clip(), "plus_mini", "plus", TEXT_COSINES)


def mini_spt_seg() -> RunConfig:
    """SPT-SEG on the mini benchmark: spectral prompt, two-frequency decoder, focal and SSIM."""
    return _variant(mini_zegclip(), "spt_seg", SPT_SEG)


def mini_spt_seg_cascade() -> RunConfig:
    """SPT-SEG with Cascade: a two-frequency decoder for each group of middle blocks and for the last block."""
    return _variant(mini_cascade_clip(), "spt_seg_cascade", SPT_SEG)


def mini_frozen_cascade() -> RunConfig:
    """Cascade-CLIP's decoders on the frozen CLIP: no prompts and no prompt norm."""
    return _variant(mini_cascade_clip(), "frozen_cascade", FROZEN_TRUNK)


def mini_naive_fusion() -> RunConfig:
    """All middle levels and the last level summed into one decoder."""
    return _variant(
        mini_zegclip(), "naive_fusion", {"model.fusion": "naive", "model.groups": MINI_CASCADE_GROUPS}
    )


def mini_otseg() -> RunConfig:
    """OTSeg+ on the mini benchmark: the vectors of three templates per class, in place of their mean."""
    return _variant(mini_zegclip(), "otseg", TRANSPORT)


def mini_cat_seg() -> RunConfig:
    """CAT-Seg on the mini benchmark: its head, and queries and values of both towers train."""
    return _variant(mini_cat_seg_frozen(), "cat_seg", {**TUNED, "optim.clip_lr": CLIP_SHARE * MINI_LR})


def mini_cat_seg_frozen() -> RunConfig:
    """CAT-Seg's head on the frozen CLIP: a cost volume, aggregated over patches and classes."""
    return _variant(mini_zegclip(), "cat_seg_frozen", {**HEAD, **MINI_SIZE})


def mini_zegclip_no_rd() -> RunConfig:
    """ZegCLIP without the relationship descriptor: queries are a linear map of the text alone."""
    return _variant(mini_zegclip(), "zegclip_no_rd", {"model.query": "text"})


def mini_zegclip_no_prompts() -> RunConfig:
    """ZegCLIP on the frozen CLIP: no prompts and no prompt norm."""
    return _variant(mini_zegclip(), "zegclip_no_prompts", FROZEN_TRUNK)


def mini_decoder_ce() -> RunConfig:
    """Prompts and decoder, text queries, softmax cross-entropy over the candidate classes."""
    return _variant(mini_zegclip(), "decoder_ce", {"model.query": "text", "loss.kind": "cross_entropy"})


def mini_baseline() -> RunConfig:
    """`decoder_ce` on the frozen CLIP."""
    return _variant(mini_decoder_ce(), "baseline", FROZEN_TRUNK)


def mini_linear() -> RunConfig:
    """A linear map of the frozen patch vectors, initially the identity; cosine similarity and cross-entropy."""
    changes = {**FROZEN_TRUNK, "model.decoder": "linear", "loss.kind": "cross_entropy"}
    return _variant(mini_zegclip(), "linear", changes)


def hard_zegclip() -> RunConfig:
    """ZegCLIP on mini-hard: the mini benchmark's settings, with windows of 64 pixels into pictures of 128."""
    changes = {
        "recipe": "hard_zegclip",
        "model.clip": MINI_HARD_CLIP.model_dump(),
        "data.protocol": "mini-hard-38-12",
        "evaluate.mode": "slide",
        "evaluate.stride": 32,
        "evaluate.batch_size": 8,
    }
    return with_overrides(mini_zegclip(), changes)


def hard_cascade_clip() -> RunConfig:
    """Cascade-CLIP on mini-hard: two groups of three middle blocks, and the last block."""
    changes = {"method": "cascade_clip", "model.fusion": "cascade", "model.groups": MINI_CASCADE_GROUPS}
    return with_overrides(hard_zegclip(), {"recipe": "hard_cascade_clip", **changes})


def small_training_free(world: str, method: str) -> RunConfig:
    """A training-free method on the CLIP of the mini benchmark or of mini-hard; it sees pictures as that world's other recipes do."""
    return _changed(recipe(f"{world}_zegclip"), f"{world}_{method}", method, without_training(method))


def _variant(parent: RunConfig, method: str, changes: Mapping[str, Any]) -> RunConfig:
    return _changed(parent, f"mini_{method}", method, changes)


def _changed(parent: RunConfig, name: str, method: str, changes: Mapping[str, Any]) -> RunConfig:
    return with_overrides(parent, {"recipe": name, "method": method, **changes})


# Names are derived from the functions, in the order they should be listed.
_RECIPES: dict[str, Callable[[], RunConfig]] = {
    function.__name__: function
    for function in (
        mini_zegclip,
        mini_cascade_clip,
        mini_naive_fusion,
        mini_otseg,
        mini_zegclip_no_rd,
        mini_zegclip_no_prompts,
        mini_decoder_ce,
        mini_baseline,
        mini_linear,
        mini_spt_seg,
        mini_spt_seg_cascade,
        mini_frozen_cascade,
        mini_cat_seg_frozen,
        mini_cat_seg,
        plus_mini,
        hard_zegclip,
        hard_cascade_clip,
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
        otseg_voc12,
        otseg_context59,
        otseg_cocostuff,
        cat_seg_frozen_voc12,
        cat_seg_frozen_cocostuff,
        cat_seg_voc12,
        cat_seg_cocostuff,
    )
}
_RECIPES |= {
    f"{world}_{method}": partial(small_training_free, world, method)
    for world in ("mini", "hard")
    for method in LAST_BLOCKS
}
_RECIPES |= {method: partial(training_free, method, CLIP_VIT_B16) for method in LAST_BLOCKS}


def recipe_names() -> tuple[str, ...]:
    """Return every recipe's name: those that train, the mini benchmark's first, then the training-free ones."""
    return tuple(_RECIPES)


def trained_recipe_names() -> tuple[str, ...]:
    """Return the names of the recipes that have something to train."""
    return tuple(name for name in _RECIPES if name.rpartition("_")[2] not in LAST_BLOCKS)


def reads_templates(recipes: Sequence[str], overrides: Mapping[str, Any] | None = None) -> bool:
    """Return whether one of these recipes reads a row for every template; a theme stands for its cells."""
    return any(recipe(name, overrides).model.reads_templates for name in cells_of(recipes))


def naming_recipe(recipes: Sequence[str]) -> str:
    """Return the recipe whose prompt templates all recipes of a run share: the first that trains, or else the first."""
    recipes = cells_of(recipes)
    return next((name for name in recipes if recipe(name).model.trains), recipes[0])


def recipe_summaries() -> dict[str, str]:
    """Return the first sentence about every recipe, in the order of `recipe_names`."""
    return {
        name: (inspect.getdoc(getattr(function, "func", function)) or "").partition("\n")[0].rstrip(".")
        for name, function in _RECIPES.items()
    }


def recipe(name: str, overrides: Mapping[str, Any] | None = None, *, seed: int = 0) -> RunConfig:
    """Return the configuration of the recipe `name`, or of the recipe file of that path, changed by dotted `overrides`.

    The override `clip` names another backbone, such as "ViT-L-14", and is applied before all others. A name such as
    `mini_zegclip:prompt_depth.half` is a cell of an ablation; overrides change its base.

    Raises:
        UserError: the recipe, the backbone or an override's key is unknown (the message lists the known ones), an
            override has a command-line option of its own, the configuration refuses a value, or a recipe file is wrong.
    """
    refuse_stated(overrides or ())
    parent, separator, place = name.rpartition(SEPARATOR)
    if separator and not is_recipe_file(name):
        base = recipe(parent, overrides, seed=seed)
        return with_overrides(base, cell_overrides(place, base))
    if is_recipe_file(name):
        own = read_recipe_file(Path(name))
        try:
            config = recipe(own.parent, {**own.changes, **(overrides or {})}, seed=seed)
        except UserError as error:
            raise UserError(f"recipe {name}: {error}") from error
        return config.model_copy(update={"recipe": own.name})
    changes = {**(overrides or {}), "seed": seed}
    config, backbone = _named(name)(), changes.pop("clip", None)
    if backbone is not None:
        config = with_overrides(config, backbone_changes(config, backbone))
    return with_overrides(config, changes)


def _named(name: str) -> Callable[[], RunConfig]:
    try:
        return by_name(name, _RECIPES, kind="recipe")
    except UserError as error:
        raise UserError(f"{error}, or give the path of a recipe file (.yaml)") from None


def with_overrides(config: RunConfig, overrides: Mapping[str, Any]) -> RunConfig:
    """Return `config` with the values of dotted keys, such as `{"train.iterations": 20}`, replaced and checked.

    If `data.protocol` is a label file, its whole content becomes part of the configuration.

    Raises:
        UserError: a key is unknown (the message lists the keys known there), or a value is refused.
    """
    values = config.model_dump(mode="json")
    for key, value in with_label_file(overrides).items():
        *parents, field = key.split(".")
        section: dict[str, Any] = values
        model: type[BaseModel] = RunConfig
        for name in parents:
            kind = model.model_fields[name].annotation if name in model.model_fields else None
            if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
                known = ", ".join(model.model_fields)
                raise UserError(
                    f"unknown override {brief(key)}: {model.__name__} has no section {brief(name)}; it has {known}"
                )
            # A section of settings that were added later is left out where it has the published values.
            section, model = section.setdefault(name, {}), kind
        if field not in model.model_fields:
            raise UserError(
                f"unknown override {brief(key)}: {model.__name__} has {', '.join(model.model_fields)}"
            )
        section[field] = value
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(f"recipe {config.recipe!r}: {first_error(error)}") from error
