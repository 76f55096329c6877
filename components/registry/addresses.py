"""Load models by address: a local folder, or a registered version (`models:/NAME@ALIAS`) downloaded first."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from cascade_core.checkpoints.manifest import load_manifest
from cascade_core.checkpoints.model_folder import brings_text_tower, locate
from cascade_core.clip.home import imported_clip
from cascade_core.configs.backbones import MINI_CLIP
from cascade_core.errors import UserError
from cascade_core.predictor import Predictor
from components.storage.places import REGISTRY
from components.tracking.stored_files import download


def load_predictor(
    model: str | Path, clip: str | Path | None = None, *, device: str | torch.device | None = None
) -> Predictor:
    """Load a model from `models:/NAME@ALIAS`, `models:/NAME/VERSION` or a folder.

    Registered models and model folders contain their text tower; a bare checkpoint needs `clip`.

    Raises:
        UserError: the store or the model cannot be reached, or as for `Predictor.load`.
    """
    with resolved(model, clip) as (checkpoint, text_tower):
        return Predictor.load(checkpoint, text_tower, device=device)


@contextmanager
def resolved(model: str | Path, clip: str | Path | None = None) -> Iterator[tuple[Path, Path]]:
    """Yield local folders of a model's checkpoint and CLIP; a download is deleted after the block.

    Raises:
        UserError: as for `load_predictor`.
    """
    text_tower = None if clip is None else Path(clip)
    if not str(model).startswith(REGISTRY):
        yield locate(Path(model), text_tower)
        return
    with tempfile.TemporaryDirectory(prefix="cascade-model-") as scratch:
        yield locate(download(str(model), Path(scratch)), text_tower)


def clip_for(model: str, clip: Path | None) -> Path | None:
    """Return the CLIP folder for a model: `clip` if given, else for a bare checkpoint that of the CLIP in its manifest.

    Raises:
        UserError: the folder holds no checkpoint, or no folder of its CLIP is where `import-clip` puts it.
    """
    if clip is not None or model.startswith(REGISTRY) or brings_text_tower(Path(model)):
        return clip
    if not Path(model).is_dir():
        raise UserError(
            f"model {model} is not a folder; give a checkpoint or model folder, an address such as "
            "models:/NAME@champion, or mini, the small model of the package"
        )
    name = load_manifest(Path(model)).config.model.clip.name
    if name == MINI_CLIP.name:
        return Path("data/mini/clip")
    folder = imported_clip(name)
    if not folder.is_dir():
        raise UserError(
            f"{model} was trained with CLIP {name!r}, which is not in {folder}; give its folder with --clip, or import "
            "it with `cascade-clip import-clip`"
        )
    return folder
