"""Trainings between the steps of a pipeline: artifacts for their parts, and checkpoints without CLIP's frozen tower.

A step downloads its input artifacts whole. So the final and the half-way checkpoint and what reports read are artifacts of
their own, and a reference to CLIP's folder stands for the frozen tower, which the steps that read a checkpoint join again.
"""

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from cascade_core.checkpoints.frozen_tower import join_tower, lacks_tower, leave_out_tower, read_reference
from components.artifacts.manifest import TRACKING_FILE
from components.artifacts.partial_folders import copy_part, keep_part, move_part
from components.results.names import HISTORY_FILE
from components.storage import places

FINAL, HALF, TRAINING = "final", "half", "training"
"""The checkpoints in the folder of a training, and the artifact with what reports read of it."""


class Clip(NamedTuple):
    """CLIP's folder, and its address in the pipeline's parameters."""

    folder: Path
    address: str


def is_at_hand(address: str) -> bool:
    """Say whether later steps have CLIP's folder without fetching it in each pod: on the volume, or in a shared cache."""
    return not places.in_store(address) or bool(os.environ.get(places.CACHE_VARIABLE))


def clip_of(trainings: Iterable[Path]) -> Clip | None:
    """Return the CLIP whose tower these trainings leave out; None if they are whole.

    Raises:
        UserError: a reference is broken, or CLIP's folder cannot be fetched.
    """
    for checkpoint in (path for training in trainings for path in _lacking(training)):
        address = read_reference(checkpoint).clip
        return Clip(places.folder("clip", address), address)
    return None


def hand_on(training: Path, parts: Mapping[str, Path], clip: Clip | None) -> None:
    """Leave the final checkpoint in the folder of a training, and move the rest to the folders of `parts`, by name.

    Without `clip` the checkpoints stay whole. What no part takes is removed.

    Raises:
        UserError: the folder lacks a file, or a weights file is damaged.
    """
    has_half = (training / HALF).is_dir()  # a training-free model has none
    if HALF in parts:
        move_part(training, parts[HALF], _files(training / HALF, training) if has_half else ())
    small = [HISTORY_FILE, f"{FINAL}/manifest.json"]
    small += [TRACKING_FILE] if (training / TRACKING_FILE).is_file() else []
    copy_part(training, parts[TRAINING], small)
    keep_part(training, _files(training / FINAL, training))
    if clip is not None:
        leave_out_tower(training / FINAL, clip.folder, address=clip.address)
        if HALF in parts and has_half:
            leave_out_tower(parts[HALF] / HALF, clip.folder, address=clip.address)


def whole_checkpoints(training: Path, scratch: Path) -> Path:
    """Return the folder of a training whose checkpoints have their tower: itself, or a copy in the new folder `scratch`.

    Raises:
        UserError: CLIP's folder holds other weights than those of the training, or a file is damaged.
    """
    lacking = _lacking(training)
    if not lacking:
        return training
    scratch.mkdir(parents=True)
    for path in training.iterdir():
        if path in lacking:
            address = read_reference(path).clip
            join_tower(path, places.folder("clip", address), scratch / path.name)
        elif path.is_dir():
            shutil.copytree(path, scratch / path.name)
        else:
            shutil.copyfile(path, scratch / path.name)
    return scratch


def _lacking(training: Path) -> list[Path]:
    return [path for path in sorted(training.glob("*")) if path.is_dir() and lacks_tower(path)]


def _files(folder: Path, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
