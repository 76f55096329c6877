"""Model folders: a checkpoint (`checkpoint/`) and the text tower that encodes class names (`text_tower/`).

A registered model has the same two folders below `artifacts/`. Training writes only a checkpoint; it
is used with the CLIP folder of its training.
"""

import shutil
from pathlib import Path

from cascade_core.checkpoints.frozen_tower import join_tower, lacks_tower
from cascade_core.checkpoints.manifest import MANIFEST_FILE, MODEL_FILE, load_manifest
from cascade_core.clip.home import clip_folder, model_folder
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_folder, write_json
from cascade_core.runtime.formats import FORMAT, read_manifest

CHECKPOINT, TEXT_TOWER, JOINED = "checkpoint", "text_tower", ".joined"


def locate(folder: Path, clip: Path | None = None) -> tuple[Path, Path]:
    """Return the checkpoint and the CLIP folder of a model.

    Args:
        folder: a model folder, a registered model (with its `artifacts/`), a checkpoint, or the name of a model that
            comes with the package or that `import-clip --method` made.
        clip: the CLIP folder that a checkpoint needs, or the name of an imported CLIP; for a model folder it replaces
            the text tower there.

    Raises:
        UserError: there is no such folder, it is of a later format, or a checkpoint comes without its CLIP.
    """
    folder, clip = model_folder(folder), clip and clip_folder(clip)
    if not folder.is_dir():
        raise UserError(
            f"model {folder} is not a folder; give a checkpoint such as outputs/train/zegclip/final, a model folder of "
            "`cascade-clip export --format folder`, or mini, the small model of the package"
        )
    if model := _model_folder(folder):
        if (model / MANIFEST_FILE).is_file():  # earlier model folders and registered versions have none
            read_manifest(model / MANIFEST_FILE)
        return model / CHECKPOINT, clip or model / TEXT_TOWER
    if clip is None:
        raise UserError(
            f"checkpoint {folder} has no text tower beside it: give the CLIP folder it was trained with, or put "
            "both into one folder by `cascade-clip export CHECKPOINT --clip CLIP --format folder --out FOLDER`"
        )
    return folder, clip


def brings_text_tower(folder: Path) -> bool:
    """Say whether a folder, or the model of this name, holds a text tower besides its checkpoint."""
    return _model_folder(model_folder(folder)) is not None


def write_model_folder(checkpoint: Path, clip: Path, out: Path, *, half: bool = False) -> None:
    """Copy a checkpoint without optimizer state, and a CLIP's text half; with `half` in half precision.

    A checkpoint that leaves out CLIP's frozen tower gets it from `clip`.

    Raises:
        UserError: a file is missing or damaged, or a weight does not fit into half precision.
    """
    # These import torch, which `locate` does without.
    from cascade_core.clip.weights import copy_text_tower
    from cascade_core.runtime.tensors import read_tensors, write_half

    load_manifest(checkpoint)
    if not (checkpoint / MODEL_FILE).is_file():
        raise UserError(f"checkpoint {checkpoint / MODEL_FILE} does not exist; give the folder that holds it")
    with new_folder(out) as working:
        if lacks_tower(checkpoint):
            join_tower(checkpoint, clip, working / JOINED)
            checkpoint = working / JOINED
        (working / CHECKPOINT).mkdir()
        shutil.copyfile(checkpoint / MANIFEST_FILE, working / CHECKPOINT / MANIFEST_FILE)
        if half:
            write_half(read_tensors(checkpoint / MODEL_FILE), working / CHECKPOINT / MODEL_FILE)
        else:
            shutil.copyfile(checkpoint / MODEL_FILE, working / CHECKPOINT / MODEL_FILE)
        copy_text_tower(clip, working / TEXT_TOWER, half=half)
        write_json(working / MANIFEST_FILE, {"format": FORMAT})
        if checkpoint == working / JOINED:
            shutil.rmtree(checkpoint)


def _model_folder(folder: Path) -> Path | None:
    places = (folder, folder / "artifacts")
    return next((place for place in places if (place / CHECKPOINT).is_dir()), None)
