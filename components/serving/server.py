"""Serve a registered model over HTTP: MLflow's scoring application, with limits on its requests."""

import logging
import socket
from ipaddress import ip_address
from traceback import walk_tb
from typing import Any

import uvicorn
from starlette.responses import PlainTextResponse

from cascade_core.errors import UserError
from components.registry import versions as registry
from components.serving.request_limits import Limited, Limits
from components.tracking.faults import first_line, translate_errors
from components.tracking.store import open_store, require_store

log = logging.getLogger(__name__)

UNREADABLE = (AttributeError, RecursionError, ValueError)
"""Errors that MLflow's request reader lets through as status 500: no content type, brackets thousands deep, a number of
thousands of digits. Errors of the model never get here, because MLflow answers them itself."""
WRITER = "predictions_to_json"
"""MLflow's function that writes an answer; an error in it is not the request's fault."""


def serve(name: str, *, version: int | None, host: str, port: int, limits: Limits) -> None:
    """Answer `/invocations`, `/ping` and `/version` as `mlflow models serve` does, until the process ends.

    Serves the model's champion if `version` is None.

    Raises:
        UserError: tracking is off, there is no such model or version, it cannot be loaded, or the address is not
            free.
    """
    is_local = _check_free(host, port)
    uri = _model_uri(name, version)
    app = Limited(_scoring_app(uri), limits)
    if not is_local:
        log.warning("%s can be reached from other machines without a password; put it behind a proxy", host)
    address = f"{uri} on http://{host}:{port}"
    summary = "%s: requests of at most %g MiB, sent within %g s, %d at once"
    log.info(summary, address, limits.mib, limits.seconds, limits.requests)
    # h11 refuses headers above 64 KiB; uvicorn's other parser has no limit.
    uvicorn.run(app, host=host, port=port, http="h11", log_level="warning")


def _check_free(host: str, port: int) -> bool:
    """Refuse an unusable address before the model is loaded, which is slow; return whether it is a loopback address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as server:
            return ip_address(server.getsockname()[0]).is_loopback
    except OSError as error:
        raise UserError(
            f"nothing can listen at {host}:{port} ({error.strerror}); choose another --port, or --host"
        ) from error


def _model_uri(name: str, version: int | None) -> str:
    require_store("serve from")
    client = open_store()
    if version is not None:
        return registry.version(client, name, version).uri
    champion = registry.champion(client, name)
    if champion is None:
        raise UserError(f"model {name!r} has no champion; give a version, or promote one")
    return champion.uri


def _scoring_app(uri: str) -> Any:
    """Load a model and return MLflow's application for it."""
    import mlflow
    from mlflow.pyfunc import scoring_server

    with translate_errors(uri, way_out="check that the artifact store is there"):
        model = mlflow.pyfunc.load_model(uri)
    app = scoring_server.init(model)
    for kind in UNREADABLE:
        app.add_exception_handler(kind, _unreadable)
    return app


async def _unreadable(_: Any, error: Exception) -> PlainTextResponse:
    if any(frame.f_code.co_name == WRITER for frame, _ in walk_tb(error.__traceback__)):
        raise error  # The server answers 500 and logs the trace.
    log.warning("a request was refused as unreadable (%s: %s)", type(error).__name__, first_line(error))
    reason = f"the request cannot be read ({first_line(error)}); send JSON, and say so in its Content-Type\n"
    return PlainTextResponse(reason, status_code=400)
