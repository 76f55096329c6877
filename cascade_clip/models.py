"""Models from wherever they lie: a folder, or an address in MLflow's registry, for which alone MLflow is imported."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from cascade_core import predictor
from cascade_core.checkpoints.checkpoint import CheckpointManifest, load_segmentor
from cascade_core.checkpoints.model_folder import locate
from cascade_core.errors import UserError
from cascade_core.model.segmentor import Segmentor

REGISTRY = ("models:/", "runs:/")
"""Beginnings of addresses in MLflow; everything else is a folder."""
DEFAULT_STORE = Path("mlruns/mlflow.db")
"""Where the commands keep their store, below the working folder."""


class Predictor(predictor.Predictor):
    """Pictures and any class names in, label maps out; `cascade_core.predictor` says how.

    ```
    model = Predictor.load("models:/mini-18-6-cascade_clip@champion")
    prediction = model.predict("photo.jpg", ["zebra", "grass"])
    ```
    """

    @classmethod
    def load(
        cls, model: str | Path, clip: str | Path | None = None, *, device: str | torch.device | None = None
    ) -> "Predictor":
        """Read a model folder, a checkpoint folder with its CLIP folder, or a model by its address in MLflow.

        The device is a GPU where there is one, unless it is named.

        Raises:
            UserError: a file is missing or does not fit, the store has no such model, or there is no such device.
        """
        with fetched(model) as folder:
            loaded = super().load(folder, clip, device=device)
        assert isinstance(loaded, cls)
        return loaded


def load(model: str | Path) -> tuple[Segmentor, CheckpointManifest]:
    """Give the network of a checkpoint (in eval mode, on the CPU) and what it was made from.

    A model folder and an address in MLflow stand for the checkpoint in them.

    Raises:
        UserError: a file is missing, or the weights do not fit the manifest's configuration.
    """
    with fetched(model) as folder:
        checkpoint, _ = locate(folder, folder)  # a text tower is not asked for
        return load_segmentor(checkpoint)


@contextmanager
def fetched(model: str | Path) -> Iterator[Path]:
    """Give the folder of a model; one from MLflow's store is there as long as the block lasts.

    Raises:
        UserError: MLflow is not installed, or its store has no such model.
    """
    if not str(model).startswith(REGISTRY):
        yield Path(model)
        return
    with tempfile.TemporaryDirectory(prefix="cascade-model-") as scratch:
        yield _download(str(model), scratch)


def _download(address: str, target: str) -> Path:
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
    except ModuleNotFoundError as error:
        raise UserError(
            f"model {address!r} is an address in MLflow; install mlflow, or give a folder"
        ) from error
    store = os.environ.get("MLFLOW_TRACKING_URI")
    if store is None and DEFAULT_STORE.is_file():
        store = f"sqlite:///{DEFAULT_STORE.absolute().as_posix()}"
    try:
        return Path(mlflow.artifacts.download_artifacts(address, dst_path=target, tracking_uri=store))
    except (MlflowException, OSError) as error:
        raise UserError(
            f"model {address!r} cannot be fetched ({error}); set MLFLOW_TRACKING_URI to the store that has it, "
            "and see that this version or alias is there"
        ) from error
