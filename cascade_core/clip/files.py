"""The files of a CLIP folder, and its configuration; without torch, for whoever only looks at a folder."""

from pathlib import Path

from cascade_core.configs.model import ClipConfig
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json
from cascade_core.runtime.validation import validated

CONFIG_FILE, WEIGHTS_FILE, VOCABULARY_FILE = "config.json", "model.safetensors", "vocabulary.json"


def read_clip_config(folder: Path) -> ClipConfig:
    """Read the configuration of a CLIP folder, or of its text half, and check that the weights are there.

    Raises:
        UserError: a file is missing, or the configuration is not a CLIP's; the message names file or field.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            if folder.is_dir() and any(folder.iterdir()):
                raise UserError(
                    f"{folder} is no CLIP's folder, or is damaged: {name} is missing; give the folder or the name of "
                    "a CLIP, such as ViT-B-16 after `cascade-clip import-clip ViT-B-16 --tag openai`"
                )
            raise UserError(
                f"CLIP file {folder / name} is missing. For the mini benchmark run `dvc pull` or "
                f"`cascade-clip pretrain`; for a real CLIP `cascade-clip import-clip ViT-B-16 --tag openai --out {folder}`, "
                "which says where it looks for the weights"
            )
    path = folder / CONFIG_FILE
    return validated(ClipConfig, read_json(path), source=path, way_out="import the CLIP again")
