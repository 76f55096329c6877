"""Models by address: a folder, or one of MLflow's registry (`models:/NAME@ALIAS`), which is fetched first."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from cascade_core.checkpoints.model_folder import brings_text_tower, locate
from cascade_core.predictor import Predictor
from components.tracking.store import open_store, shown_uri, told_of

REGISTRY = ("models:/", "runs:/")
"""Beginnings of addresses in MLflow; everything else is a folder."""


def load_predictor(
    model: str | Path, clip: str | Path | None = None, *, device: str | torch.device | None = None
) -> Predictor:
    """Read a model by its address `models:/NAME@ALIAS` or `models:/NAME/VERSION`, or from a folder.

    A registered model brings its text tower along, and so does a model folder; a checkpoint needs `clip`.

    Raises:
        UserError: the store or the model in it cannot be reached, or as of `Predictor.load`.
    """
    with resolved(model, clip) as (checkpoint, text_tower):
        return Predictor.load(checkpoint, text_tower, device=device)


@contextmanager
def resolved(model: str | Path, clip: str | Path | None = None) -> Iterator[tuple[Path, Path]]:
    """Give the checkpoint and the CLIP folder of a model, which are there as long as the block lasts.

    Raises:
        UserError: as of `load_predictor`.
    """
    given = None if clip is None else Path(clip)
    if not str(model).startswith(REGISTRY):
        yield locate(Path(model), given)
        return
    with tempfile.TemporaryDirectory(prefix="cascade-model-") as scratch:
        yield locate(fetched(str(model), Path(scratch)), given)


def fetched(address: str, target: Path) -> Path:
    """Copy a model out of MLflow's store into `target`, and give the folder it is in.

    Raises:
        UserError: the store cannot be opened, or has no such model.
    """
    open_store()
    import mlflow

    where = f"model {address!r} of the store at {shown_uri()}"
    with told_of(where, way_out="`cascade-clip models list` shows those there are"):
        return Path(mlflow.artifacts.download_artifacts(address, dst_path=str(target)))


def clip_for(model: str, clip: Path | None, default: Path = Path("data/mini/clip")) -> Path | None:
    """Give the CLIP folder to load a model with: the one given, and for a bare checkpoint else the default."""
    if clip is not None or model.startswith(REGISTRY) or brings_text_tower(Path(model)):
        return clip
    return default
