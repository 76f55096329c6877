"""Load models by address: a local folder, or a registered version (`models:/NAME@ALIAS`) downloaded first."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from cascade_core.checkpoints.model_folder import brings_text_tower, locate
from cascade_core.predictor import Predictor
from components.tracking.store import download

REGISTRY = ("models:/", "runs:/")
"""Prefixes of MLflow addresses; every other address is a folder."""


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
    """Return the CLIP folder for a model: `clip` if given, and otherwise the mini CLIP for a bare checkpoint."""
    if clip is not None or model.startswith(REGISTRY) or brings_text_tower(Path(model)):
        return clip
    return Path("data/mini/clip")
