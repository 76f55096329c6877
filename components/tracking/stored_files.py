"""The files of runs and models in MLflow's store: storing, download and removal."""

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


def keep(run_id: str, file: Path, folder: str) -> None:
    """Store a file in a folder of a run's artifacts.

    Raises:
        UserError: the artifact store does not take it.
    """
    with translate_errors(f"artifact {file.name} of run {run_id}", way_out="check the artifact store"):
        open_store().log_artifact(run_id, str(file), folder)


def file_of_run(run_id: str, path: str, target: Path) -> Path | None:
    """Download a file of a run's artifacts into `target`; None if there is no such file, or no such run any longer.

    Raises:
        UserError: the store cannot be opened, was moved, or does not answer.
    """
    client = open_store()
    check_place(client)
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

    with translate_errors(f"artifact {path} of run {run_id}", way_out="check the artifact store"):
        try:
            present = client.list_artifacts(run_id, str(Path(path).parent))
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            return None
        if path not in {entry.path for entry in present}:
            return None
        return Path(client.download_artifacts(run_id, path, str(target)))


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
