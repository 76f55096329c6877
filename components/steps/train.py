"""Step: train a segmentor inductively (unseen pixels ignored) or with full supervision."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cascade_core.clip.vision import VisionTransformer
from cascade_core.clip.weights import load_clip
from cascade_core.configs.backbones import same_tower
from cascade_core.configs.config import RunConfig
from cascade_core.configs.recipes import recipe as named_recipe
from cascade_core.configs.recipes import with_overrides
from cascade_core.errors import UserError
from cascade_core.model.build import build_segmentor
from cascade_core.train.supervision import Setting
from components.artifacts import data_hash
from components.steps.splits import read_split
from components.training.before_training import check_ready_vectors
from components.training.fit import Fit, read_inputs, rows_of, train_step


@dataclass(frozen=True)
class Trained:
    """Where a training left its checkpoints; `half` is where self-training starts."""

    final: Path
    half: Path


def run(
    *,
    prepared: Path,
    splits: Path,
    text: Path,
    clip: Path | None,
    recipe: str,
    overrides: Mapping[str, Any],
    seed: int,
    out: Path,
    resume: bool = True,
) -> Trained:
    """Train `recipe` into `out`: checkpoints `final/` and `half/`, and the loss curve `history.csv`.

    Splits made from a label file put its protocol in the place of the recipe's, which is about another data set;
    an override of `data.protocol` must name the same.

    An interrupted training goes on where its last checkpoint stood, if `resume`. `clip=None` puts a randomly
    initialised image tower in CLIP's place: for smoke runs and as a control, never for results. Under torchrun
    each process takes its share of every batch, and the first one writes.

    Raises:
        UserError: recipe, override, CLIP weights or the earlier steps' folders do not fit together, text vectors
            given ready belong to other names, or the batch cannot be shared evenly among the processes.
    """
    config = named_recipe(recipe, _on_own_classes(overrides, splits), seed=seed)
    inputs = read_inputs(prepared=prepared, splits=splits, text=text, protocol_name=config.data.protocol)
    rows_of(inputs, "train")
    check_ready_vectors(text, clip, inputs.class_vectors)
    tower = _image_tower(config, clip)
    # The folder knows its weights' activation and heads; a checkpoint rebuilt with others would compute nonsense.
    config = with_overrides(config, {"model.clip": tower.config.model_dump()})
    segmentor = build_segmentor(config.model, tower, seed=seed)
    setting: Setting = "supervised" if config.train.supervision == "full" else "inductive"
    folders = {"prepared": prepared, "splits": splits, "text": text, **({"clip": clip} if clip else {})}
    job = Fit(
        step="train",
        config=config,
        setting=setting,
        segmentor=segmentor,
        inputs=inputs,
        batch_size=config.train.batch_size,
        iterations=config.train.iterations,
        provenance={"data_hash": data_hash(prepared), "clip": "weights" if clip else "random"},
        snapshot_at=config.self_train_start,
    )
    train_step(job, out, folders=folders, resume=resume)
    return Trained(final=out / "final", half=out / "half")


def _on_own_classes(overrides: Mapping[str, Any], splits: Path) -> Mapping[str, Any]:
    """Put in the label file that the splits were made from, if one was and the overrides name no protocol."""
    split = read_split(splits)
    if split.label_set.has_background:
        raise UserError(
            f"{splits}: protocol {split.name!r} counts background as a class, which has no name to train with; "
            "train on a protocol without, and evaluate with a background policy"
        )
    return overrides if split.own is None else {"data.protocol": split.own, **overrides}


def _image_tower(config: RunConfig, clip: Path | None) -> VisionTransformer:
    if clip is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            return VisionTransformer(config.model.clip)
    tower = load_clip(clip)[0].visual
    ours, theirs = config.model.clip, tower.config
    if not same_tower(ours, theirs):
        raise UserError(
            f"CLIP in {clip} is {theirs.name!r} (width {theirs.width}, {theirs.layers} blocks), recipe "
            f"{config.recipe!r} wants {ours.name!r} (width {ours.width}, {ours.layers} blocks); "
            "give the folder of that CLIP, or put the recipe on this one, such as --set clip=ViT-L-14"
        )
    return tower
