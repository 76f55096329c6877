"""What a training that continues another one has to have in common with it."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cascade_core.checkpoints.manifest import CheckpointManifest
from cascade_core.configs.ablations import cell_of
from cascade_core.configs.config import RunConfig
from cascade_core.errors import UserError
from cascade_core.labels.class_split import ClassSplit

log = logging.getLogger(__name__)


def beside_cell(overrides: Mapping[str, Any], method: str, mode: str) -> dict[str, Any]:
    """Return the overrides without those that the training's cell of an ablation sets, if its method is one; warn of these, and of another mode.

    In a training overrides change the cell's base, and the cell stands. The same ones may come with a self-training.
    """
    cell = cell_of(method)
    if cell is None:
        return dict(overrides)
    if cell.mode not in (None, mode):
        log.warning(
            "self-training in mode %s; the cell %s of the training is of mode %s", mode, method, cell.mode
        )
    for key in overrides.keys() & cell.changes.keys():
        log.warning("override %s is left out: the cell %s sets it", key, method)
    return {key: value for key, value in overrides.items() if key not in cell.changes}


def check_same_model(config: RunConfig, before: RunConfig, checkpoint: Path) -> None:
    """Check that a configuration has the model of the checkpoint, whose weights go on training.

    Raises:
        UserError: a setting of the model differs; the message names it.
    """
    for key, value, own in _differences(config.model, before.model, "model"):
        raise UserError(
            f"override {key}={value}: {checkpoint} was trained with {own}, and self-training continues its model; leave "
            "the override out, or train anew with it"
        )


def check_same_classes(split: ClassSplit, manifest: CheckpointManifest, checkpoint: Path) -> None:
    """Check that the classes are those of the checkpoint, and the unseen ones too: it knows the labels of all others.

    Raises:
        UserError: a class differs, or is unseen in one of the two alone; the message names one.
    """
    if split.classes != manifest.classes:
        raise UserError(
            f"{checkpoint} was trained with {len(manifest.classes)} classes that are not the {len(split.classes)} of protocol "
            f"{split.name!r}; give the folders that it was trained with"
        )
    if differing := sorted(set(split.unseen_names) ^ set(manifest.unseen)):
        raise UserError(
            f"class {differing[0]!r} is unseen in only one of protocol {split.name!r} and {checkpoint}; give the folders that it "
            "was trained with"
        )


def _differences(changed: BaseModel, before: BaseModel, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted key of each differing setting, and both values."""
    for name in type(changed).model_fields:
        key, value, own = f"{prefix}.{name}", getattr(changed, name), getattr(before, name)
        if isinstance(value, BaseModel) and isinstance(own, BaseModel):
            yield from _differences(value, own, key)
        elif value != own:
            yield key, value, own
