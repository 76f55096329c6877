"""The MLflow store: its address, opening it, and its runs.

The store is a sqlite file in the working folder unless `MLFLOW_TRACKING_URI` names another one;
`CASCADE_TRACKING=off` disables tracking. MLflow takes seconds to import, so it is imported when the store is
opened.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from cascade_core.errors import UserError
from components.servers.addresses import HTTP, check_endpoints, masked, server_address, without_user
from components.servers.own_variables import SWITCH_VARIABLE
from components.servers.paging import all_of
from components.servers.patience import AwayError, patiently
from components.tracking.faults import away, explained

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

STORE_FOLDER = Path("mlruns")
URI_VARIABLE = "MLFLOW_TRACKING_URI"

MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # With MLflow's growing pauses (factor 2) a dead server is reported after about ten seconds, a silent one after
    # four times the timeout; MLflow's own defaults take many minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Its lines on standard output would mix with what a command prints.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Defaults for environment variables that are not set."""

USER_VARIABLE, PASSWORD_VARIABLE = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
SCHEMES = ("http", "https", "sqlite", "postgresql+psycopg2")
DRIVERS = {
    "postgresql": ("psycopg2", "psycopg2-binary"),
    "mysql": ("pymysql", "pymysql"),
    "mssql": ("pymssql", "pymssql"),
}
"""The module of a driver for each database, and the package that holds it."""

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


def open_existing_store(purpose: str) -> "MlflowClient":
    """Connect to the store as `open_store`, but make none.

    Raises:
        ModuleNotFoundError: MLflow is not installed.
        AwayError: the store does not answer.
        UserError: there is no sqlite file, or the store cannot be opened; `purpose` completes "no MLflow store to ...".
    """
    if find_spec("mlflow") is None:  # before anything else: without it no store helps
        raise ModuleNotFoundError("No module named 'mlflow'", name="mlflow")
    file = sqlite_file(tracking_uri())
    if file is not None and not file.is_file():
        raise UserError(
            f"there is no MLflow store to {purpose}: {file} does not exist; work in the project's folder, or set "
            f"{URI_VARIABLE}"
        )
    return open_store()


def open_store() -> "MlflowClient":
    """Connect to the store; create a missing sqlite file, and the tables of an empty database.

    Retries for `CASCADE_PATIENCE` seconds while the store does not answer.

    Raises:
        AwayError: the store does not answer.
        UserError: the store cannot be opened.
    """
    return patiently(lambda: connect_once(tracking_uri()))


def connect_once(address: str) -> "MlflowClient":
    """Connect to the store at an address without retries; raises as `open_store`."""
    uri = _without_login(address)
    check_endpoints()
    # The import reads some of these variables.
    for name, value in MLFLOW_SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow
    from sqlalchemy.exc import NoSuchModuleError

    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Models are logged and loaded by module functions, which take no client.
    mlflow.set_tracking_uri(uri)
    try:
        with store_lock(uri):
            client = mlflow.MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise UserError(f"the MLflow store at {masked(uri)}: {_driver_advice(uri, error)}") from error
    except Exception as error:
        start = (
            f"start it, set {URI_VARIABLE} to one that runs, or set {SWITCH_VARIABLE}=off to track nothing"
        )
        check = f"check {URI_VARIABLE}, or set {SWITCH_VARIABLE}=off to track nothing"
        transient = away(error)
        reason, way_out = explained(error, start if transient else check)
        kind = AwayError if transient else UserError
        raise kind(f"the MLflow store at {masked(uri)} cannot be opened ({reason}); {way_out}") from error
    return client


def _without_login(address: str) -> str:
    """Check the store's address; move a server's user name and password to MLflow's variables, which it never quotes.

    Raises:
        UserError: the address has no scheme, or cannot be read in one way only.
    """
    if address.startswith(("databricks", "file:")):
        return address
    parts = server_address(address, URI_VARIABLE, schemes=(*SCHEMES, *DRIVERS))
    if parts.scheme not in HTTP:
        return f"{parts.scheme}{address.strip()[len(parts.scheme) :]}"
    if parts.username is not None:
        os.environ[USER_VARIABLE] = unquote(parts.username)
        os.environ[PASSWORD_VARIABLE] = unquote(parts.password or "")
    return without_user(parts)


def _driver_advice(uri: str, error: Exception) -> str:
    """Say which driver the address asks for, and which one is there."""
    scheme = uri.partition(":")[0]
    database = scheme.partition("+")[0]
    if database not in DRIVERS:
        return f"{scheme}:// is unknown ({error}); write {', '.join(f'{name}://' for name in SCHEMES)}"
    module, package = DRIVERS[database]
    wanted = error.name if isinstance(error, ModuleNotFoundError) else scheme.partition("+")[2]
    if find_spec(module):
        return f"write {database}+{module}:// (that driver is installed), or install {wanted}"
    return f"no driver of {database} is installed; install {package} and write {database}+{module}://"


def all_runs(
    client: "MlflowClient", experiments: list[str], filter_string: str, *, order_by: list[str] | None = None
) -> list["Run"]:
    """Return all runs in the experiments (by id) that match MLflow's filter, from all pages of the answer."""
    return all_of(
        lambda token: client.search_runs(experiments, filter_string, order_by=order_by, page_token=token)
    )


def tags_of(client: "MlflowClient", run_id: str) -> dict[str, str]:
    """Return the tags of a run; none for a run that the store does not have."""
    from mlflow.exceptions import MlflowException

    try:
        return dict(client.get_run(run_id).data.tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}


@contextmanager
def store_lock(uri: str) -> Iterator[None]:
    """Keep other processes from opening the same sqlite file or PostgreSQL database.

    MLflow creates its tables without a lock: of two processes that open an empty store, one would fail. A tracking
    server needs no lock, because it opens its store itself.
    """
    file = sqlite_file(uri)
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


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a sqlite store, and None for any other store."""
    scheme = "sqlite:///"
    return Path(uri.removeprefix(scheme)).absolute() if uri.startswith(scheme) else None
