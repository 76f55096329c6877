"""Serve a registered model over HTTP: MLflow's own scoring application, behind limits on what it is asked."""

import logging
import socket
from ipaddress import ip_address
from traceback import walk_tb
from typing import Any

from cascade_core.errors import UserError
from components.registry import versions as registry
from components.serving.request_limits import Limited, Limits
from components.tracking.store import first_line, open_store, require_store, told_of

log = logging.getLogger(__name__)

UNREADABLE = (AttributeError, RecursionError, ValueError)
"""What MLflow's reader of requests lets through, to be answered 500: no content type, brackets thousands deep, a number of
thousands of digits. Errors of the model never come so far: MLflow turns each into an answer."""
WRITER = "predictions_to_json"
"""What MLflow writes an answer with; an error in it is no fault of the request."""


def serve(name: str, *, version: int | None, host: str, port: int, limits: Limits) -> None:
    """Answer `/invocations`, `/ping` and `/version` as `mlflow models serve` does, until the process is ended.

    `version` left out, the model's champion is served.

    Raises:
        UserError: tracking is off, there is no such model or version, it cannot be loaded, or nothing can listen
            at the address.
    """
    # mlflow's own scoring server runs on it.
    import uvicorn

    _check_free(host, port)
    uri = _address(name, version)
    app = Limited(_scoring(uri), limits)
    if not _is_local(host):
        log.warning("%s can be reached from other machines, and there is no password: put one in front", host)
    log.info(
        "%s on http://%s:%d: requests of at most %g MiB, sent within %g s, %d at once",
        uri,
        host,
        port,
        limits.mib,
        limits.seconds,
        limits.requests,
    )
    # h11 refuses a head above 64 KiB; the other parser that uvicorn takes where it is installed has no limit.
    uvicorn.run(app, host=host, port=port, http="h11", log_level="warning")


def _check_free(host: str, port: int) -> None:
    """Refuse an address that is taken, or not this machine's, before a model is loaded for a minute."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise UserError(
            f"nothing can listen at {host}:{port} ({error.strerror}); choose another --port, or --host"
        ) from error


def _address(name: str, version: int | None) -> str:
    require_store("serve from")
    client = open_store()
    if version is not None:
        return registry.version(client, name, version).uri
    held = registry.champion(client, name)
    if held is None:
        raise UserError(f"model {name!r} has no champion; give a version, or promote one")
    return held.uri


def _scoring(uri: str) -> Any:
    """Load a model and give MLflow's application around it."""
    import mlflow
    from mlflow.pyfunc import scoring_server

    with told_of(uri, way_out="see that the store of artifacts is there"):
        model = mlflow.pyfunc.load_model(uri)
    app = scoring_server.init(model)
    for kind in UNREADABLE:
        app.add_exception_handler(kind, _unreadable)
    return app


async def _unreadable(_: Any, error: Exception) -> Any:
    from starlette.responses import PlainTextResponse

    if any(frame.f_code.co_name == WRITER for frame, _ in walk_tb(error.__traceback__)):
        raise error  # answered 500, with a trace in the log
    log.warning("a request was refused as unreadable (%s: %s)", type(error).__name__, first_line(error))
    told = f"the request cannot be read ({first_line(error)}); send JSON, and say so in its Content-Type\n"
    return PlainTextResponse(told, status_code=400)


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
