"""A model folder: a checkpoint and the text tower that turns class names into its vectors, together in one place.

`checkpoint/` and `text_tower/` lie side by side, as they do in a registered model; a checkpoint of a training
alone has no text tower, and needs the CLIP folder it was trained with.
"""

import shutil
from pathlib import Path

from cascade_core.checkpoints.manifest import MANIFEST_FILE, MODEL_FILE, load_manifest
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_folder, write_json
from cascade_core.runtime.formats import FORMAT, read_manifest

CHECKPOINT, TEXT_TOWER = "checkpoint", "text_tower"


def locate(folder: Path, clip: Path | None = None) -> tuple[Path, Path]:
    """Give the checkpoint and the CLIP folder that `folder` stands for.

    It is a model folder, a registered model's (with its `artifacts/`), or a checkpoint, which needs `clip`.
    A `clip` that is given goes before the text tower of the folder.

    Raises:
        UserError: there is no such folder, it is of a later format, or a checkpoint comes without its CLIP.
    """
    if not folder.is_dir():
        raise UserError(
            f"model {folder} is no folder; give a checkpoint such as outputs/train/zegclip/final, or a model "
            "folder of `cascade-clip export --format folder`"
        )
    for place in (folder, folder / "artifacts"):
        if (place / CHECKPOINT).is_dir():
            if (place / MANIFEST_FILE).is_file():  # earlier model folders and registered versions have none
                read_manifest(place / MANIFEST_FILE)
            return place / CHECKPOINT, clip or place / TEXT_TOWER
    if clip is None:
        raise UserError(
            f"checkpoint {folder} has no text tower beside it: give the CLIP folder it was trained with, or put "
            "both into one by `cascade-clip export CHECKPOINT --clip CLIP --format folder --out FOLDER`"
        )
    return folder, clip


def brings_text_tower(folder: Path) -> bool:
    """Say whether a folder holds a text tower besides its checkpoint."""
    return any((place / CHECKPOINT).is_dir() for place in (folder, folder / "artifacts"))


def write_model_folder(checkpoint: Path, clip: Path, out: Path) -> None:
    """Copy a checkpoint, without what only resuming needs, and the text half of a CLIP folder into `out`.

    Raises:
        UserError: a file is missing; the message names it.
    """
    from cascade_core.clip.text_tower import (
        copy_text_tower,  # brings torch, which finding a folder does without
    )

    load_manifest(checkpoint)
    if not (checkpoint / MODEL_FILE).is_file():
        raise UserError(f"checkpoint {checkpoint / MODEL_FILE} does not exist; give the folder that holds it")
    with new_folder(out) as working:
        (working / CHECKPOINT).mkdir()
        for name in (MODEL_FILE, MANIFEST_FILE):
            shutil.copyfile(checkpoint / name, working / CHECKPOINT / name)
        copy_text_tower(clip, working / TEXT_TOWER)
        write_json(working / MANIFEST_FILE, {"format": FORMAT})
