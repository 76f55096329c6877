"""Models from a folder or an MLflow address: loading, prediction, scores. Only MLflow addresses import `mlflow`."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from cascade_core import predictor as core
from cascade_core.checkpoints.checkpoint import CheckpointManifest, load_segmentor
from cascade_core.checkpoints.model_folder import locate
from cascade_core.errors import UserError
from cascade_core.inference.background import scored_split
from cascade_core.inference.label_maps import predictions
from cascade_core.model.segmentor import Segmentor
from cascade_core.runtime.extras import missing_package
from cascade_core.scoring.confusion import ConfusionMatrix
from cascade_core.scoring.scores import Scores, scores

MLFLOW_PREFIXES = ("models:/", "runs:/")
"""The prefixes of MLflow addresses; everything else is a folder."""
STORE_VARIABLE, DEFAULT_STORE = "MLFLOW_TRACKING_URI", Path("mlruns/mlflow.db")
"""The commands' MLflow store, relative to the working folder."""


class Predictor(core.Predictor):
    """Predicts label maps of pictures for any class names; see `cascade_core.predictor`.

    ```
    model = Predictor.load("models:/mini-18-6-cascade_clip@champion")
    prediction = model.predict("photo.jpg", ["zebra", "grass"])
    ```
    """

    @classmethod
    def load(
        cls, model: str | Path, clip: str | Path | None = None, *, device: str | torch.device | None = None
    ) -> "Predictor":
        """Load a model folder, a checkpoint folder with its CLIP folder, or a model from its MLflow address.

        The default device is a GPU if there is one, else the CPU.

        Raises:
            UserError: a file is missing or does not fit, the store has no such model, or the device does not exist.
        """
        with model_folder(model) as folder:
            loaded = super().load(folder, clip, device=device)
        assert isinstance(loaded, cls)
        return loaded


def load(model: str | Path) -> tuple[Segmentor, CheckpointManifest]:
    """Load the network (in eval mode, on the CPU) and the manifest of a checkpoint.

    `model` is a checkpoint folder, a model folder, or an MLflow address.

    Raises:
        UserError: a file is missing, or the weights do not fit the manifest's configuration.
    """
    with model_folder(model) as folder:
        checkpoint, _ = locate(folder, folder)  # this call needs no text tower
        return load_segmentor(checkpoint)


def evaluate(
    model: str | Path,
    prepared: str | Path,
    clip: str | Path | None = None,
    *,
    split: str = "test",
    device: str | torch.device | None = None,
) -> Scores:
    """Score a model on one split of a prepared data set, over the classes of its training.

    Scores are fractions, NaN for a mean over no class. The checkpoint's policy decides how background counts.

    Args:
        model: the model, as for `Predictor.load`.
        prepared: the folder that `cascade-clip prepare` wrote.
        clip: the CLIP folder of a checkpoint, as for `Predictor.load`.
        split: the split of the data set.
        device: the device, as for `Predictor.load`.

    Raises:
        UserError: the model cannot be loaded, the data were prepared for other classes, lack the split, or moved, or a
            package of the extra `pipeline` is missing.
    """
    try:
        from cascade_core.data.prepared import check_label_set, data_root, read_index, rows_of_split
        from cascade_core.evaluation import scored_batches
    except ModuleNotFoundError as error:
        if (sentence := missing_package(error)) is None:
            raise
        raise UserError(f"evaluation needs {sentence}") from error
    predictor = Predictor.load(model, clip, device=device)
    config, data = predictor.manifest.config, Path(prepared)
    check_label_set(data, config.data.split.label_set)
    class_split = scored_split(config.data.split, predictor.evaluate.background)
    rows = rows_of_split(read_index(data), split)
    vocabulary = predictor.vocabulary(config.data.split.foreground().classes)
    confusion = ConfusionMatrix(class_split.num_classes, device=predictor.device)
    batches = scored_batches(rows, data_root(data), config=config, split=class_split)
    for batch, predicted in predictions(vocabulary, batches, evaluate=predictor.evaluate):
        confusion.update(predicted, batch.labels)
    return scores(confusion, class_split)


@contextmanager
def model_folder(model: str | Path) -> Iterator[Path]:
    """Yield a model's folder; a model from MLflow is downloaded for the duration of the block.

    Raises:
        UserError: MLflow is not installed, or its store has no such model.
    """
    if not str(model).startswith(MLFLOW_PREFIXES):
        yield Path(model)
        return
    with tempfile.TemporaryDirectory(prefix="cascade-model-") as scratch:
        yield _download(str(model), scratch)


def _download(address: str, target: str) -> Path:
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
    except ModuleNotFoundError as error:
        if (sentence := missing_package(error)) is None:
            raise
        raise UserError(
            f"model {address!r} is an MLflow address and needs {sentence}; or give a folder"
        ) from error
    with _store_of_the_folder() as store:
        try:
            return Path(mlflow.artifacts.download_artifacts(address, dst_path=target, tracking_uri=store))
        except (MlflowException, OSError) as error:
            # MLflow quotes the store's address, and so would the trace of its error.
            login = (store or "").partition("://")[2].rpartition("@")[0]
            reason = str(error).replace(login, "***") if login else str(error)
            raise UserError(
                f"model {address!r} cannot be downloaded ({reason}); set MLFLOW_TRACKING_URI to the store that holds it, "
                "and check that this version or alias exists; if the store was moved, `cascade-clip relocate` mends it"
            ) from None


@contextmanager
def _store_of_the_folder() -> Iterator[str | None]:
    """Yield the address of MLflow's store: the environment's, else that of the working folder, if there is one.

    MLflow looks a name up in the store of the environment, whatever address its call is given.
    """
    if STORE_VARIABLE in os.environ or not DEFAULT_STORE.is_file():
        yield os.environ.get(STORE_VARIABLE)
        return
    os.environ[STORE_VARIABLE] = store = f"sqlite:///{DEFAULT_STORE.absolute().as_posix()}"
    try:
        yield store
    finally:
        os.environ.pop(STORE_VARIABLE, None)
