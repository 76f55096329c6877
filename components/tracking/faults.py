"""Errors of the MLflow store, of its server and of its artifacts: which of them pass, and what mends the others."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cascade_core.errors import UserError
from cascade_core.runtime.files import disk_is_full
from components.servers.addresses import masked
from components.servers.certificates import VARIABLE as CA_VARIABLE

LOGIN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
ADDRESS = "MLFLOW_TRACKING_URI"

LASTING = {
    "authentication failed": f"correct the user name and the password in {ADDRESS}",
    "no pg_hba.conf entry": "let the database accept this user from this machine (pg_hba.conf)",
    "does not exist": f"create it, or correct the name in {ADDRESS}",
    "could not translate host name": f"correct the host in {ADDRESS}",
    "certificate": "name the file of trusted certificates with sslrootcert= in the address",
    "unable to open database file": "check the folder and its permissions",
    "readonly database": "check the file's permissions, or name another one",
    "database or disk is full": "free some space, or name a file on another disk",
}
"""Texts in errors of databases that do not pass with time, and what mends them; all other such errors may pass."""


def of_store(error: BaseException) -> bool:
    """Return whether an error comes from MLflow, its server, or the object store of its artifacts."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    return isinstance(error, MlflowException | Boto3Error | BotoCoreError | ClientError | RequestException)


def away(error: BaseException) -> bool:
    """Return whether an error is transient: the store does not answer, or is too busy.

    A refused login, an untrusted certificate or a database that does not exist is not transient.
    """
    from requests import exceptions as http
    from sqlalchemy.exc import OperationalError

    if getattr(error, "error_code", None) == "TEMPORARILY_UNAVAILABLE" or isinstance(error, OperationalError):
        return _lasting(error) is None
    # MLflow's exception only quotes the error of `requests`; that error itself is the cause or context.
    cause = _cause(error)
    transient = http.ConnectionError | http.ChunkedEncodingError | http.Timeout | http.RetryError
    return isinstance(cause, transient) and not isinstance(cause, http.SSLError)


def store_unavailable(error: BaseException) -> bool:
    """Return whether an error means that the store cannot be reached or used for now.

    Invalid values are the caller's mistake, and a full disk has no space for a record either; both return False.
    """
    if isinstance(error, OSError):
        return not disk_is_full(error)
    return of_store(error) and getattr(error, "error_code", None) != "INVALID_PARAMETER_VALUE"


def refused(error: BaseException) -> bool:
    """Return whether a server or an object store refused the login."""
    return _status(error) in (401, 403)


def explained(error: BaseException, otherwise: str) -> tuple[str, str]:
    """Return what happened and what mends it: by the error itself if it says so, else `otherwise`."""
    from requests import exceptions as http

    status, reason = _status(error), first_line(error)
    if _of_object_store(error):
        keys = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that they may use the bucket"
        return reason, keys if status in (401, 403) else otherwise
    if status == 401:
        return "refused (401)", LOGIN
    if status == 403:
        return "refused (403)", f"get the right to use it, or {LOGIN} of a user who has it"
    if isinstance(_cause(error), http.SSLError):
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            return (
                "its certificate is not trusted",
                f"name the authority's in {CA_VARIABLE}",
            )
        return reason, f"write http:// in {ADDRESS} if the server speaks no TLS"
    no_server = "failed with error code 404" in reason or "not in a valid JSON format" in reason
    if no_server or isinstance(_cause(error), http.TooManyRedirects):
        return (
            "another program answers, or a login page",
            f"correct {ADDRESS}, or {LOGIN} if the server takes them",
        )
    return reason, _lasting(error) or otherwise


@contextmanager
def translate_errors(what: str, *, way_out: str) -> Iterator[None]:
    """Turn the errors of MLflow and of its artifact store into a `UserError` of one sentence.

    Raises:
        UserError: in place of those errors: `what` cannot be read, and `way_out` is what to do unless the error
            itself says it.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not (isinstance(error, OSError) or of_store(error)):
            raise
        reason, remedy = explained(error, way_out)
        raise UserError(f"{what} cannot be read ({reason}); {remedy}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class name, without secrets."""
    return masked(str(error).splitlines()[0]) if str(error) else type(error).__name__


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ or error.__context__


def _lasting(error: BaseException) -> str | None:
    text = str(error)
    return next((remedy for sign, remedy in LASTING.items() if sign in text), None)


def _of_object_store(error: BaseException) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    return isinstance(error, BotoCoreError | ClientError)


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error stands for, if any."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore's
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if response is not None:
        return int(response.status_code)
    name = getattr(error, "error_code", None)
    return {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}.get(str(name))
