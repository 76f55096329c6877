"""Addresses of servers and stores: read by `urllib.parse`, and shown, in messages and logs, without secrets."""

import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator
from urllib.parse import SplitResult, unquote, urlsplit

from cascade_core.errors import UserError

MASK = "***"
SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
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


def parsed(address: str, source: str, *, schemes: str = "http:// or https://") -> SplitResult:
    """Split an address, with its scheme in lower case; `source` is the option or variable that holds it.

    Raises:
        UserError: the address has no scheme (`schemes` are those to choose from), or can be read in several ways; the
            message shows no secret.
    """
    address = address.strip()
    scheme, mark, rest = address.partition("://")
    if not mark:
        raise UserError(
            f"{source} is {masked(address)!r}, which does not start with {schemes}; if it is a server's, http:// is "
            f"missing: http://{masked(address) or 'localhost:8080'}"
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
    return parts


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
