"""Identify the run that a checkpoint of the authors' code comes from: method, data set, protocol and setting.

The weights' shapes show the method, the number of prompts and the number of classes in the loss. The metadata that
the training script may have saved (`meta`) hold the class names in order and the configuration. If both leave a
choice, the user must state it: a guessed protocol or setting would give plausible but wrong scores.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cascade_core.configs.changes import with_overrides
from cascade_core.configs.config import EvalConfig, RunConfig
from cascade_core.configs.model import ModelConfig
from cascade_core.configs.recipes import recipe
from cascade_core.configs.settings import TrainedSetting
from cascade_core.datasets.catalogue import protocol as named_protocol
from cascade_core.datasets.catalogue import protocols
from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit
from cascade_core.released.weights import CLASS_WEIGHT_BUFFER, released_config

PUBLISHED = ("zegclip_voc12", "cascade_voc12", "cascade_context59", "zegclip_cocostuff", "cascade_cocostuff")
"""The recipes of the runs that the authors' code has a configuration for."""

_SHAPES_OF_CLIP = ("patch_size", "width", "layers", "heads", "embed_dim")


@dataclass(frozen=True)
class Evidence:
    """What a released file reveals about its run.

    Attributes:
        model: the configuration that the weights' shapes show.
        num_fed: number of classes in the loss; None without the loss's buffer.
        classes: class names in order; None if the metadata lack them.
        self_training: whether the configuration in the metadata self-trains; None without a configuration.
        iteration: optimiser steps taken; None if the metadata lack them.
    """

    model: ModelConfig
    num_fed: int | None
    classes: tuple[str, ...] | None
    self_training: bool | None
    iteration: int | None

    @property
    def method(self) -> str:
        return "cascade_clip" if self.model.fusion == "cascade" else "zegclip"

    def __str__(self) -> str:
        fed = "an unknown number of" if self.num_fed is None else self.num_fed
        names = "" if self.classes is None else f", metadata naming {len(self.classes)} classes"
        return (
            f"{self.method} with {self.model.num_prompts} prompts, pictures of {self.model.image_size}, a tower of "
            f"{self.model.clip.layers} blocks of width {self.model.clip.width}, and a loss for {fed} classes{names}"
        )


@dataclass(frozen=True)
class ReleasedRun:
    """The run of a released checkpoint, in this project's terms."""

    config: RunConfig
    split: ClassSplit
    setting: TrainedSetting
    iteration: int
    total_iterations: int


def read_evidence(weights: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Evidence:
    """Read the evidence of a released file's run: its metadata and the shapes of its weights.

    Raises:
        UserError: the weights belong to neither method; the message states the expected keys.
    """
    if not all(any(key.startswith(prefix) for key in weights) for prefix in ("backbone.", "decode_head.")):
        raise UserError(
            "unknown checkpoint layout: expected the state dict of the authors' ZegCLIP or Cascade-CLIP, with keys "
            "'backbone.*' (image tower and prompts), 'decode_head.decoder_1.*' or 'decode_head.cascade_decoders.*', "
            f"and perhaps 'text_encoder.*'; found {', '.join(sorted(weights)[:4])}"
        )
    buffer, classes = weights.get(CLASS_WEIGHT_BUFFER), meta.get("CLASSES")
    if not isinstance(classes, list | tuple) or not all(isinstance(name, str) for name in classes):
        classes = None
    config, iteration = meta.get("config"), meta.get("iter")
    self_training = bool(re.search(r"self_training\s*=\s*True", config)) if isinstance(config, str) else None
    return Evidence(
        model=released_config(weights),
        num_fed=None if buffer is None or buffer.ndim != 1 else len(buffer) - 1,
        classes=None if classes is None else tuple(classes),
        self_training=self_training,
        iteration=iteration if isinstance(iteration, int) and iteration > 0 else None,
    )


def identify(
    evidence: Evidence, *, protocol: str | None = None, setting: TrainedSetting | None = None
) -> ReleasedRun:
    """Identify the run of a released checkpoint; `protocol` and `setting` settle what the evidence leaves open.

    A published run gets the whole configuration of its recipe. A run of the authors' code on another protocol, which
    must be stated, gets its own shapes, inference at the size of its position grid, and the rest of its method's
    recipe.

    Raises:
        UserError: the evidence fits several runs or none (the message lists them and the option to add), or
            contradicts `protocol` or `setting`.
    """
    candidates = _published_candidates(evidence)
    if protocol is None:
        base, split = _only_candidate(candidates, evidence)
    else:
        split = named_protocol(protocol)
        _check_classes(evidence, split)
        published = (run for run, candidate in candidates if candidate.name == protocol)
        base = next(published, _unpublished_config(evidence, split))
    setting = _setting(evidence, split, setting)
    config = with_overrides(base, {"data.protocol": split.name})
    schedule = config.train.iterations if setting != "transductive_oracle" else config.self_train_iterations
    iteration = evidence.iteration or schedule
    return ReleasedRun(config, split, setting, iteration, max(iteration, schedule))


def _published_candidates(evidence: Evidence) -> list[tuple[RunConfig, ClassSplit]]:
    """Return the published runs of these shapes, under every protocol with the same numbers of classes."""
    return [
        (run, split)
        for run in map(recipe, PUBLISHED)
        if _same_shapes(evidence.model, run.model)
        for split in protocols()
        if _class_counts(split) == _class_counts(named_protocol(run.data.protocol))
        and evidence.num_fed in {None, *_class_counts(split)}
        and evidence.classes in {None, split.classes}
    ]


def _same_shapes(model: ModelConfig, published: ModelConfig) -> bool:
    clip = published.clip
    same_clip = all(getattr(model.clip, field) == getattr(clip, field) for field in _SHAPES_OF_CLIP)
    return same_clip and model.model_copy(update={"clip": clip}) == published


def _class_counts(split: ClassSplit) -> tuple[int, int]:
    """Return the number of seen classes and of all classes."""
    return len(split.seen), split.num_classes


def _only_candidate(
    candidates: list[tuple[RunConfig, ClassSplit]], evidence: Evidence
) -> tuple[RunConfig, ClassSplit]:
    match candidates:
        case [candidate]:
            return candidate
        case []:
            published = ", ".join(f"{name} ({_describe(recipe(name))})" for name in PUBLISHED)
            raise UserError(
                f"the checkpoint is {evidence}, which fits no published run: {published}; "
                "if it was trained with the authors' code on another protocol, give that protocol with --protocol"
            )
        case _:
            names = ", ".join(split.name for _, split in candidates)
            raise UserError(
                f"the checkpoint is {evidence}, which fits several protocols: {names}; their classes differ in order "
                "or choice, which shapes cannot show; add --protocol with that of its training (the authors' "
                "released code uses context59-released)"
            )


def _unpublished_config(evidence: Evidence, split: ClassSplit) -> RunConfig:
    """Return the configuration of an unpublished run: its own shapes, and the rest of its method's recipe."""
    runs = [recipe(name) for name in PUBLISHED]
    base = next(run for run in runs if run.method == evidence.method)
    # The authors use the same templates for data sets with the same number of classes.
    same_size = (run for run in runs if named_protocol(run.data.protocol).num_classes == split.num_classes)
    size = evidence.model.image_size
    stride = max(1, base.evaluate.stride * size // base.model.image_size)
    return with_overrides(
        base,
        {
            "recipe": f"{evidence.method} as converted",
            "model": evidence.model.model_dump(mode="json"),
            "data.templates": next(same_size, base).data.templates,
            "data.crop_size": size,
            "evaluate": EvalConfig(short_side=size, crop_size=size, stride=stride).model_dump(),
        },
    )


def _check_classes(evidence: Evidence, split: ClassSplit) -> None:
    if evidence.num_fed not in {None, *_class_counts(split)}:
        raise UserError(
            f"the checkpoint's loss is for {evidence.num_fed} classes; protocol {split.name!r} has {len(split.seen)} "
            f"seen ones of {split.num_classes}; state the protocol of its training with --protocol"
        )
    if evidence.classes is not None and evidence.classes != split.classes:
        pairs = zip(evidence.classes, split.classes, strict=False)
        differing = [f"; {name!r}, not {expected!r}" for name, expected in pairs if name != expected]
        raise UserError(
            f"the checkpoint's metadata name {len(evidence.classes)} classes, protocol {split.name!r} has "
            f"{split.num_classes}{''.join(differing[:3])}: give the protocol of these classes in this order"
        )


def _setting(evidence: Evidence, split: ClassSplit, stated: TrainedSetting | None) -> TrainedSetting:
    """Return the setting that the user stated or, without one, the only setting that the evidence allows."""
    if evidence.self_training and stated not in {None, "transductive_oracle"}:
        raise UserError(f"the checkpoint's own configuration self-trains; setting {stated!r} contradicts it")
    possible = (stated,) if stated else _possible_settings(evidence, split)
    if len(possible) == 1:
        return possible[0]
    raise UserError(
        f"the checkpoint does not show how it was trained on {split.name!r}: {' or '.join(possible)}; add --setting, "
        "for only inductive models have the seen penalty subtracted from their seen scores"
    )


def _possible_settings(evidence: Evidence, split: ClassSplit) -> tuple[TrainedSetting, ...]:
    """Return the settings that the evidence allows.

    Of the authors' self-training configurations only VOC's has a loss for all classes. On other data sets a loss for
    the seen classes can therefore mean inductive training or self-training.
    """
    all_classes = evidence.num_fed == split.num_classes
    if evidence.self_training:
        return ("transductive_oracle",)
    if evidence.self_training is False:
        return ("supervised",) if all_classes else ("inductive",)
    if not split.unseen:
        return ("supervised",)
    if all_classes:
        return "transductive_oracle", "supervised"
    if evidence.num_fed == len(split.seen) and split.name == "voc12-15-5":
        return ("inductive",)
    return "inductive", "transductive_oracle"


def _describe(run: RunConfig) -> str:
    num_seen, num_classes = _class_counts(named_protocol(run.data.protocol))
    return f"{run.method}, {run.model.num_prompts} prompts, {num_seen} seen classes of {num_classes}"
