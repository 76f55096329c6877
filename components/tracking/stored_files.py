"""The files of runs and models in MLflow's store: download and removal."""

from pathlib import Path

from cascade_core.errors import UserError
from components.tracking.displacement import check_place
from components.tracking.faults import translate_errors
from components.tracking.store import masked_uri, open_store


def download(address: str, target: Path) -> Path:
    """Download a model, or a file or folder in it, from MLflow into `target`, and return its local path.

    Raises:
        UserError: the store cannot be opened, was moved, or has nothing at the address.
    """
    check_place(open_store())
    import mlflow

    where = f"model {address!r} of the store at {masked_uri()}"
    with translate_errors(where, way_out="check it against `cascade-clip models list`"):
        return Path(mlflow.artifacts.download_artifacts(address, dst_path=str(target)))


def remove_files(location: str, *, of: str) -> None:
    """Remove all files of a run or model, whose id is `of`; MLflow's own removal of a run or model keeps them.

    Raises:
        UserError: the location does not name the id, or the artifact store refuses or does not answer.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if of not in location:
        raise UserError(f"the files of {of} are at {location}, beside those of others; remove them by hand")
    with translate_errors(f"files of {of}", way_out="check that the artifact store takes deletions"):
        get_artifact_repository(location).delete_artifacts()
