"""The MLflow store: where it is, opening it with one clear error, and its experiments.

It is a sqlite file below the working folder unless `MLFLOW_TRACKING_URI` names another one;
`CASCADE_TRACKING=off` does without. MLflow is imported when the store is opened: it costs seconds, and stays
away from whatever only reads or computes.
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
    # With MLflow's growing pauses (factor 2) a dead server is told after some ten seconds, a silent one after
    # four times the time-out; MLflow's own defaults take many minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""What holds where the environment does not say otherwise."""

CONNECT_SECONDS = 10
"""How long a database may take to answer at the start; MLflow itself would try for a hundred seconds."""
OPENING_LOCK = 0x636173636164
"""The advisory lock of PostgreSQL that is held while a store is opened; any number that is nobody else's."""


def tracking_off() -> bool:
    """Say whether the environment wants nothing tracked."""
    return os.environ.get(SWITCH_VARIABLE) == "off"


def require_store(purpose: str) -> None:
    """Refuse to go on where tracking is off.

    Raises:
        UserError: it is; `purpose` says what would have needed a store.
    """
    if tracking_off():
        raise UserError(f"{SWITCH_VARIABLE}=off leaves no MLflow store to {purpose}; unset it")


def tracking_uri() -> str:
    """Give the store's address: the environment's, or a sqlite file in `mlruns` of the working folder."""
    return os.environ.get(URI_VARIABLE) or f"sqlite:///{(STORE_FOLDER / 'mlflow.db').absolute()}"


def shown_uri(uri: str | None = None) -> str:
    """Give an address (the store's if None) for people and logs to read: without the password that may stand in it."""
    return masked(uri or tracking_uri())


def masked(text: str) -> str:
    """Leave passwords out of the addresses in a text: MLflow puts the address it was given into its errors."""
    text = re.sub(r"(//[^/@:\s]*):\S*@", r"\1:***@", text)
    return re.sub(r"([?&]password=)[^&\s]*", r"\1***", text)


def open_store() -> "MlflowClient":
    """Connect to the store, making a sqlite one that does not exist yet, and the tables of an empty database.

    One that is away is waited for as long as patience says.

    Raises:
        AwayError: it does not answer.
        UserError: it cannot be opened.
    """
    return patiently(lambda: _opened(tracking_uri()))


def _opened(uri: str) -> "MlflowClient":
    # Set before the import, which reads some of them.
    for name, value in MLFLOW_SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow

    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Models are logged and loaded through module functions, which know no client.
    mlflow.set_tracking_uri(uri)
    try:
        with alone(uri):
            client = mlflow.MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
    except ModuleNotFoundError as error:
        raise UserError(
            f"the MLflow store at {shown_uri()} needs the driver {error.name}; install it, of PostgreSQL "
            "psycopg2-binary"
        ) from error
    except Exception as error:
        kind = AwayError if away(error) else UserError
        raise kind(
            f"the MLflow store at {shown_uri()} cannot be opened ({first_line(error)}); start it, set {URI_VARIABLE} "
            f"to one that runs, or {SWITCH_VARIABLE}=off to do without"
        ) from error
    return client


def away(error: BaseException) -> bool:
    """Say whether an error of a call means that nobody answers there now, or is too busy to: what may pass.

    A refused token does not, nor does a certificate that is not believed.
    """
    from requests import exceptions as http
    from sqlalchemy.exc import OperationalError

    if getattr(error, "error_code", None) == "TEMPORARILY_UNAVAILABLE" or isinstance(error, OperationalError):
        return True
    # MLflow tells what befell a request in words; the error itself stands behind its own.
    behind = error.__cause__ or error.__context__
    passing = http.ConnectionError | http.ChunkedEncodingError | http.Timeout | http.RetryError
    return isinstance(behind, passing) and not isinstance(behind, http.SSLError)


def all_runs(
    client: "MlflowClient", experiments: list[str], wanted: str, *, order_by: list[str] | None = None
) -> list["Run"]:
    """Give every run of the experiments (by id) that a filter wants, over all pages of the store's answer."""
    return all_of(lambda token: client.search_runs(experiments, wanted, order_by=order_by, page_token=token))


def experiment_id(client: "MlflowClient", name: str) -> str:
    """Give the id of the experiment of this name, made or brought back from deletion if need be."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=_artifact_location(client.tracking_uri))
        except MlflowException:
            # Another process may have made it in between.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        try:
            client.restore_experiment(found.experiment_id)
        except MlflowException:
            # Nor is it there to be brought back if another process did so in between.
            if client.get_experiment(found.experiment_id).lifecycle_stage == "deleted":
                raise
    return found.experiment_id


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """Keep others from opening the same sqlite file or PostgreSQL database meanwhile.

    MLflow makes its tables without a lock: of two that find the store empty, one would fail. A tracking server
    opens its own.
    """
    file = _sqlite_file(uri)
    if file is not None:
        from filelock import FileLock

        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(f".{file.name}.lock")):
            yield
    elif uri.startswith("postgresql"):
        with _advisory_lock(uri):
            yield
    else:
        yield


@contextmanager
def _advisory_lock(uri: str) -> Iterator[None]:
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    engine = create_engine(uri, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_SECONDS})
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": OPENING_LOCK})
        yield


def of_store(error: BaseException) -> bool:
    """Say whether an error can only come from MLflow, its server, or the object store behind it."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    return isinstance(error, MlflowException | Boto3Error | BotoCoreError | ClientError | RequestException)


@contextmanager
def told_of(what: str, *, way_out: str) -> Iterator[None]:
    """Turn what MLflow, and the store its artifacts lie in, raise into one sentence.

    Raises:
        UserError: in place of whatever they brought up.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not (isinstance(error, OSError) or of_store(error)):
            raise
        raise UserError(f"{what} cannot be had ({first_line(error)}); {way_out}") from error


def first_line(error: BaseException) -> str:
    """Give the first line of what an error says, or its kind, without passwords."""
    return masked(str(error).splitlines()[0]) if str(error) else type(error).__name__


def _sqlite_file(uri: str) -> Path | None:
    scheme = "sqlite:///"
    return Path(uri.removeprefix(scheme)).absolute() if uri.startswith(scheme) else None


def _artifact_location(uri: str) -> str | None:
    """Keep artifacts beside a sqlite file; any other store knows where its own belong."""
    file = _sqlite_file(uri)
    return (file.parent / "artifacts").as_uri() if file else None
