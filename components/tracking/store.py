"""The MLflow store: its address, opening it, its experiments and runs, and its errors.

The store is a sqlite file in the working folder unless `MLFLOW_TRACKING_URI` names another one;
`CASCADE_TRACKING=off` disables tracking. MLflow takes seconds to import, so it is imported when the store is
opened.
"""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cascade_core.errors import UserError
from components.paging import all_of
from components.patience import AwayError, patiently

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

STORE_FOLDER = Path("mlruns")
URI_VARIABLE, SWITCH_VARIABLE = "MLFLOW_TRACKING_URI", "CASCADE_TRACKING"

MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # With MLflow's growing pauses (factor 2) a dead server is reported after about ten seconds, a silent one after
    # four times the timeout; MLflow's own defaults take many minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""Defaults for environment variables that are not set."""

CONNECT_SECONDS = 10
"""Timeout of the first connection to a database; MLflow itself would try for a hundred seconds."""
OPENING_LOCK = 0x636173636164
"""Key of the PostgreSQL advisory lock that is held while a store is opened; an arbitrary number."""


def tracking_off() -> bool:
    """Return whether the environment disables tracking."""
    return os.environ.get(SWITCH_VARIABLE) == "off"


def require_store(purpose: str) -> None:
    """Refuse to continue without tracking.

    Raises:
        UserError: tracking is off; `purpose` completes the message "no MLflow store to ...".
    """
    if tracking_off():
        raise UserError(f"{SWITCH_VARIABLE}=off leaves no MLflow store to {purpose}; unset it")


def tracking_uri() -> str:
    """Return the store's address: the environment's, or a sqlite file in `mlruns` of the working folder."""
    return os.environ.get(URI_VARIABLE) or f"sqlite:///{(STORE_FOLDER / 'mlflow.db').absolute()}"


def masked_uri() -> str:
    """Return the store's address for messages and logs, with its password masked."""
    return masked(tracking_uri())


def masked(text: str) -> str:
    """Mask the passwords of all addresses in a text; MLflow's errors quote the address it was given."""
    text = re.sub(r"(//[^/@:\s]*):\S*@", r"\1:***@", text)
    return re.sub(r"([?&]password=)[^&\s]*", r"\1***", text)


def open_store() -> "MlflowClient":
    """Connect to the store; create a missing sqlite file, and the tables of an empty database.

    Retries for `CASCADE_PATIENCE` seconds while the store does not answer.

    Raises:
        AwayError: the store does not answer.
        UserError: the store cannot be opened.
    """
    return patiently(lambda: _connect(tracking_uri()))


def _connect(uri: str) -> "MlflowClient":
    # The import reads some of these variables.
    for name, value in MLFLOW_SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow

    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Models are logged and loaded by module functions, which take no client.
    mlflow.set_tracking_uri(uri)
    try:
        with store_lock(uri):
            client = mlflow.MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
    except ModuleNotFoundError as error:
        raise UserError(
            f"the MLflow store at {masked_uri()} needs the driver {error.name}; install it (psycopg2-binary for "
            "PostgreSQL)"
        ) from error
    except Exception as error:
        kind = AwayError if away(error) else UserError
        raise kind(
            f"the MLflow store at {masked_uri()} cannot be opened ({first_line(error)}); start it, set {URI_VARIABLE} "
            f"to one that runs, or set {SWITCH_VARIABLE}=off to track nothing"
        ) from error
    return client


def away(error: BaseException) -> bool:
    """Return whether an error is transient: the store does not answer, or is too busy.

    A refused token or an untrusted certificate is not transient.
    """
    from requests import exceptions as http
    from sqlalchemy.exc import OperationalError

    if getattr(error, "error_code", None) == "TEMPORARILY_UNAVAILABLE" or isinstance(error, OperationalError):
        return True
    # MLflow's exception only quotes the error of `requests`; that error itself is the cause or context.
    cause = error.__cause__ or error.__context__
    transient = http.ConnectionError | http.ChunkedEncodingError | http.Timeout | http.RetryError
    return isinstance(cause, transient) and not isinstance(cause, http.SSLError)


def all_runs(
    client: "MlflowClient", experiments: list[str], filter_string: str, *, order_by: list[str] | None = None
) -> list["Run"]:
    """Return all runs in the experiments (by id) that match MLflow's filter, from all pages of the answer."""
    return all_of(
        lambda token: client.search_runs(experiments, filter_string, order_by=order_by, page_token=token)
    )


def experiment_id(client: "MlflowClient", name: str) -> str:
    """Return the id of the experiment `name`; create it if it is missing, restore it if it was deleted."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        file = _sqlite_file(client.tracking_uri)
        # Artifacts lie beside a sqlite file; other stores have a location of their own.
        location = (file.parent / "artifacts").as_uri() if file else None
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException:
            # Another process may have created it in between.
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        try:
            client.restore_experiment(experiment.experiment_id)
        except MlflowException:
            # Another process may have restored it in between.
            if client.get_experiment(experiment.experiment_id).lifecycle_stage == "deleted":
                raise
    return experiment.experiment_id


def download(address: str, target: Path) -> Path:
    """Download a model, or a file or folder in it, from MLflow into `target`, and return its local path.

    Raises:
        UserError: the store cannot be opened, or has nothing at the address.
    """
    open_store()
    import mlflow

    where = f"model {address!r} of the store at {masked_uri()}"
    with translate_errors(where, way_out="check it against `cascade-clip models list`"):
        return Path(mlflow.artifacts.download_artifacts(address, dst_path=str(target)))


@contextmanager
def store_lock(uri: str) -> Iterator[None]:
    """Keep other processes from opening the same sqlite file or PostgreSQL database.

    MLflow creates its tables without a lock: of two processes that open an empty store, one would fail. A tracking
    server needs no lock, because it opens its store itself.
    """
    file = _sqlite_file(uri)
    if file is not None:
        from filelock import FileLock

        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(f".{file.name}.lock")):
            yield
    elif uri.startswith("postgresql"):
        from sqlalchemy import create_engine, text
        from sqlalchemy.pool import NullPool

        engine = create_engine(uri, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_SECONDS})
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": OPENING_LOCK})
            yield
    else:
        yield


def of_store(error: BaseException) -> bool:
    """Return whether an error comes from MLflow, its server, or the object store of its artifacts."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    return isinstance(error, MlflowException | Boto3Error | BotoCoreError | ClientError | RequestException)


@contextmanager
def translate_errors(what: str, *, way_out: str) -> Iterator[None]:
    """Turn the errors of MLflow and of its artifact store into a `UserError` of one sentence.

    Raises:
        UserError: in place of those errors: `what` cannot be read, and `way_out` is what to do.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not (isinstance(error, OSError) or of_store(error)):
            raise
        raise UserError(f"{what} cannot be read ({first_line(error)}); {way_out}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class name, with passwords masked."""
    return masked(str(error).splitlines()[0]) if str(error) else type(error).__name__


def _sqlite_file(uri: str) -> Path | None:
    scheme = "sqlite:///"
    return Path(uri.removeprefix(scheme)).absolute() if uri.startswith(scheme) else None
