"""Which run a checkpoint of the authors' code is of: method, data set, protocol and setting, from what the file tells.

Shapes tell the method, the number of prompts and of the classes that the loss was made for. The training
script's notes (`meta`), where they were kept, tell the class names in their order and the configuration. What
neither tells is asked for, never guessed: a wrong protocol or setting gives numbers, only wrong ones.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cascade_core.configs.config import EvalConfig, ModelConfig, RunConfig
from cascade_core.configs.recipes import recipe, with_overrides
from cascade_core.configs.settings import Setting
from cascade_core.datasets.catalogue import protocol as named_protocol
from cascade_core.datasets.catalogue import protocols
from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit
from cascade_core.released.weights import CLASS_WEIGHT_BUFFER, released_config

PUBLISHED = ("zegclip_voc12", "cascade_voc12", "cascade_context59", "zegclip_cocostuff", "cascade_cocostuff")
"""Recipes of runs of which the authors' code has a configuration."""

_SHAPES_OF_CLIP = ("patch_size", "width", "layers", "heads", "embed_dim")


@dataclass(frozen=True)
class Told:
    """What a released file tells of its run.

    Attributes:
        model: as read off the shapes.
        num_fed: number of classes that the loss was made for; None if its buffer is not there.
        classes: class names in their order; None where no notes say them.
        self_training: whether the configuration in the notes self-trains; None without one.
        iteration: optimiser steps done; None where no notes say it.
    """

    model: ModelConfig
    num_fed: int | None
    classes: tuple[str, ...] | None
    self_training: bool | None
    iteration: int | None

    @property
    def method(self) -> str:
        return "cascade_clip" if self.model.fusion == "cascade" else "zegclip"


@dataclass(frozen=True)
class ReleasedRun:
    """A released checkpoint's run in our terms."""

    config: RunConfig
    split: ClassSplit
    setting: Setting
    iteration: int
    total_iterations: int


def told_by(weights: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Told:
    """Read what a released file's weights and notes tell; only shapes are looked at.

    Raises:
        UserError: the weights are of neither method; the message says what was expected.
    """
    if not any(key.startswith("backbone.") for key in weights) or not any(
        key.startswith("decode_head.") for key in weights
    ):
        raise UserError(
            "unknown checkpoint layout: expected the state dict of the authors' ZegCLIP or Cascade-CLIP, with keys "
            "'backbone.*' (image tower and prompts), 'decode_head.decoder_1.*' or 'decode_head.cascade_decoders.*', "
            f"and perhaps 'text_encoder.*'; found {', '.join(sorted(weights)[:4])}"
        )
    buffer, classes = weights.get(CLASS_WEIGHT_BUFFER), meta.get("CLASSES")
    config, iteration = meta.get("config"), meta.get("iter")
    return Told(
        model=released_config(weights),
        num_fed=None if buffer is None else buffer.shape[0] - 1,
        classes=tuple(map(str, classes)) if isinstance(classes, Sequence) else None,
        self_training=bool(re.search(r"self_training\s*=\s*True", config))
        if isinstance(config, str)
        else None,
        iteration=iteration if isinstance(iteration, int) and iteration > 0 else None,
    )


def recognise(told: Told, *, protocol: str | None = None, setting: Setting | None = None) -> ReleasedRun:
    """Say which run a released checkpoint is of; `protocol` and `setting` answer what it does not tell.

    A published run gets its recipe's whole configuration. Another one, trained with the authors' code on a
    protocol that must then be stated, gets its own shapes and the rest of its method's recipe, inference at the
    size its position grid has.

    Raises:
        UserError: what is told fits several runs or none (the message lists them, and what to add), or
            contradicts what is stated.
    """
    fitting = _fitting(told)
    if protocol is None:
        base, split = _the_one(fitting, told)
    else:
        split = named_protocol(protocol)
        _check_classes(told, split)
        base = next((run for run, known in fitting if known.name == protocol), _of_method(told, split))
    found = _setting(told, split, setting)
    config = with_overrides(base, {"data.protocol": split.name})
    total = config.train.iterations if found != "transductive_oracle" else config.self_train_iterations
    done = told.iteration or total
    return ReleasedRun(config, split, found, done, max(done, total))


def _fitting(told: Told) -> list[tuple[RunConfig, ClassSplit]]:
    """Give the published runs of these shapes, under every protocol with as many classes of either kind."""
    runs = [run for run in map(recipe, PUBLISHED) if _same_shapes(told.model, run.model)]
    return [
        (run, split)
        for run in runs
        for split in protocols()
        if _counts(split) == _counts(named_protocol(run.data.protocol))
        and told.num_fed in {None, *_counts(split)}
        and told.classes in {None, split.classes}
    ]


def _same_shapes(model: ModelConfig, published: ModelConfig) -> bool:
    clips = (tuple(getattr(one.clip, field) for field in _SHAPES_OF_CLIP) for one in (model, published))
    return len(set(clips)) == 1 and model.model_copy(update={"clip": published.clip}) == published


def _counts(split: ClassSplit) -> tuple[int, int]:
    return len(split.seen), split.num_classes


def _the_one(fitting: list[tuple[RunConfig, ClassSplit]], told: Told) -> tuple[RunConfig, ClassSplit]:
    match fitting:
        case [one]:
            return one
        case []:
            published = ", ".join(f"{name} ({_described(recipe(name))})" for name in PUBLISHED)
            raise UserError(
                f"the checkpoint is {_described_told(told)}, as no published run is: {published}. "
                "If it was trained with the authors' code on another protocol, state it with --protocol"
            )
        case _:
            listed = ", ".join(split.name for _, split in fitting)
            raise UserError(
                f"the checkpoint is {_described_told(told)}, which fits several protocols: {listed}. "
                "They differ in the order and choice of classes, which no shape tells: add --protocol with the "
                "one it was trained on (the authors' released code has context59-released)"
            )


def _of_method(told: Told, split: ClassSplit) -> RunConfig:
    """Give the configuration of an unpublished run: its own shapes, its method's recipe for the rest."""
    runs = [recipe(name) for name in PUBLISHED]
    base = next(run for run in runs if run.method == told.method)
    # Data sets of a size have been given the same templates by the authors.
    alike = next(
        (run for run in runs if named_protocol(run.data.protocol).num_classes == split.num_classes), base
    )
    size, old = told.model.image_size, base.model.image_size
    return with_overrides(
        base,
        {
            "recipe": f"{told.method} as converted",
            "model": told.model.model_dump(mode="json"),
            "data.templates": alike.data.templates,
            "data.crop_size": size,
            "evaluate": EvalConfig(
                short_side=size, crop_size=size, stride=max(1, base.evaluate.stride * size // old)
            ).model_dump(),
        },
    )


def _check_classes(told: Told, split: ClassSplit) -> None:
    if told.num_fed not in {None, *_counts(split)}:
        raise UserError(
            f"the checkpoint's loss is for {told.num_fed} classes; protocol {split.name!r} has {len(split.seen)} "
            f"seen ones of {split.num_classes}"
        )
    if told.classes is not None and told.classes != split.classes:
        differing = [f"{a!r}, not {b!r}" for a, b in zip(told.classes, split.classes, strict=False) if a != b]
        raise UserError(
            f"the checkpoint's notes name {len(told.classes)} classes, protocol {split.name!r} has "
            f"{split.num_classes}{'; ' if differing else ''}{'; '.join(differing[:3])}: "
            "give the protocol of these classes in this order"
        )


def _setting(told: Told, split: ClassSplit, stated: Setting | None) -> Setting:
    possible = _possible_settings(told, split)
    if stated is not None:
        if told.self_training and stated != "transductive_oracle":
            raise UserError(
                f"the checkpoint's own configuration self-trains; setting {stated!r} contradicts it"
            )
        return stated
    if len(possible) == 1:
        return possible[0]
    raise UserError(
        f"the checkpoint does not tell how it was trained on {split.name!r}: {' or '.join(possible)}. Inductive "
        "models have a penalty taken off their seen scores, others not: add --setting"
    )


def _possible_settings(told: Told, split: ClassSplit) -> tuple[Setting, ...]:
    """Give the settings that what is told allows.

    Of the authors' self-training configurations only VOC's makes its loss for all classes, so that elsewhere a
    loss for the seen ones alone says nothing.
    """
    seen_only = told.num_fed == len(split.seen) != split.num_classes
    all_classes = told.num_fed == split.num_classes
    if told.self_training:
        return ("transductive_oracle",)
    if told.self_training is False:
        return ("supervised",) if all_classes else ("inductive",)
    if not split.unseen:
        return ("supervised",)
    if all_classes:
        return "transductive_oracle", "supervised"
    if seen_only and split.name == "voc12-15-5":
        return ("inductive",)
    return "inductive", "transductive_oracle"


def _described(run: RunConfig) -> str:
    seen, every = _counts(named_protocol(run.data.protocol))
    return f"{run.method}, {run.model.num_prompts} prompts, {seen} seen classes of {every}"


def _described_told(told: Told) -> str:
    clip = told.model.clip
    fed = "an unknown number of" if told.num_fed is None else told.num_fed
    names = "" if told.classes is None else f", notes naming {len(told.classes)} classes"
    return (
        f"{told.method} with {told.model.num_prompts} prompts, pictures of {told.model.image_size}, a tower of "
        f"{clip.layers} blocks of width {clip.width}, and a loss for {fed} classes{names}"
    )
