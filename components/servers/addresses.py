"""Addresses of servers and stores: read by `urllib.parse`, and shown, in messages and logs, without secrets."""

import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from urllib.parse import SplitResult, unquote, urlsplit

from cascade_core.errors import UserError

MASK = "***"
HTTP = ("http", "https")
ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "MLFLOW_S3_ENDPOINT_URL")
"""Variables with the address of an object store; boto3 and MLflow read them themselves."""
SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "CASCADE_AWS_SECRET_ACCESS_KEY",
    "CASCADE_MLFLOW_TRACKING_PASSWORD",
    "KFP_EXISTING_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "PGPASSWORD",
)
SHORTEST_SECRET = 4
"""Shorter texts are hidden only inside an address: hidden everywhere, they would make messages unreadable."""

_USER = re.compile(r"(?<=//)([^/@:\s]*):\S*@")
_SECRET_FIELD = re.compile(
    r"([?&;][^=&;\s]*(?:password|secret|token|signature|credential)[^=&;\s]*=)([^&;\s'\")]*)", re.IGNORECASE
)
_ADDRESS = re.compile(r"[\w+.-]+://\S+")
_SEPARATORS = re.compile(r"[@:/?#]")


def server_address(address: str, source: str, *, schemes: Sequence[str] = HTTP) -> SplitResult:
    """Read a server's address by the one rule for all options and variables; `source` names the one that holds it.

    The scheme may be in upper case, and comes back in lower case. `schemes` are those to choose from; a driver after + is
    the caller's to check.

    Raises:
        UserError: the address has no scheme or another one, lacks the host, or can be read in several ways; the message
            shows no secret.
    """
    address = address.strip()
    scheme, mark, rest = address.partition("://")
    choice = " or ".join(f"{name}://" for name in schemes)
    if not mark:
        raise UserError(
            f"{source} is {masked(address)!r}, which does not start with {choice}; if it is a server's, http:// is "
            f"missing: http://{masked(address) or 'localhost:8080'}"
        )
    if _database(scheme.lower()) not in {_database(name) for name in schemes}:
        raise UserError(
            f"{source} is {masked(address)!r}, which does not start with {choice}; correct its beginning"
        )
    try:
        parts = urlsplit(address)
        valid = parts.port is None or parts.port >= 0
    except ValueError:
        valid = False
    else:
        # An @ after the host, or a second colon before it, belongs to a password that was not encoded.
        user = parts.netloc.rpartition("@")[0]
        valid &= "@" not in user and user.count(":") <= 1
        valid &= not parts.netloc or rest.count("@") == parts.netloc.count("@")
    if not valid:
        raise UserError(
            f"{source} ({scheme}://{MASK}) cannot be read as an address; a port is a number, and @ : / ? # of a "
            "user name or password are written as %40 %3A %2F %3F %23"
        )
    if parts.scheme in HTTP and not parts.hostname:
        raise UserError(
            f"{source} is {masked(address)!r}, which names no host; an example is http://localhost:8080"
        )
    return parts


def check_endpoints() -> None:
    """Check the addresses of object stores in the environment, and put them in the form that every library reads.

    Raises:
        UserError: as of `server_address`.
    """
    for name in ENDPOINT_VARIABLES:
        if address := os.environ.get(name):
            os.environ[name] = server_address(address, name).geturl()


def _database(scheme: str) -> str:
    """Return a scheme without the driver after +."""
    return scheme.partition("+")[0]


def without_user(parts: SplitResult) -> str:
    """Return an address without user name and password."""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def masked(text: str) -> str:
    """Hide the secrets in a text: those of the environment, and those of all addresses in the text."""
    for secret in sorted(set(_secrets()), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _SECRET_FIELD.sub(rf"\1{MASK}", _USER.sub(rf"\1:{MASK}@", text))


def masked_trace(error: BaseException) -> str:
    """Return the trace of an error, with those of its causes, without secrets."""
    return masked("".join(traceback.format_exception(error)))


def hide_secrets() -> None:
    """Hide secrets in what this process logs and in the trace that ends it; entry points call this."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_MaskedFormatter("%(message)s"))
    sys.excepthook = lambda kind, error, trace: print(masked_trace(error), end="", file=sys.stderr)


class _MaskedFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


def _secrets() -> Iterator[str]:
    """Yield the environment's secrets, as they are and decoded, and the pieces that a library may quote of them."""
    for name, value in os.environ.items():
        secrets = [value] if name in SECRET_VARIABLES else []
        if _ADDRESS.fullmatch(value):
            user, at, _ = value.partition("://")[2].rpartition("@")
            secrets += [user.partition(":")[2]] if at else []
            secrets += [field[1] for field in _SECRET_FIELD.findall(value)]
        for form in {*secrets, *map(unquote, secrets)}:
            yield from (piece for piece in (form, *_SEPARATORS.split(form)) if len(piece) >= SHORTEST_SECRET)
