"""Serve a registered model over HTTP: MLflow's scoring application, with limits on its requests.

Granian reads connections: it has deadlines for headers and limits on their size. uvicorn has no deadline for headers, and
hypercorn takes HTTP/2, which has none there.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from traceback import walk_tb
from typing import Any, NoReturn

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server
from starlette.responses import PlainTextResponse

from components.registry import versions as registry
from components.serving.listening import check_free
from components.serving.request_limits import Limited, Limits
from components.tracking.faults import first_line, translate_errors
from components.tracking.store import open_store, require_store

log = logging.getLogger(__name__)

HEADER_SECONDS = 15
"""The longest time until the headers of the next request are there, however long its body may take."""
HEADER_BYTES = 2**16
CONNECTIONS = 512
"""Open connections; others wait in the system's queue. Most systems let a process open twice as many files."""
STOP_SECONDS = 20
"""The longest time to answer what was accepted before a signal; Kubernetes kills a pod 30 s after SIGTERM."""

UNREADABLE = (AttributeError, RecursionError, ValueError)
"""Errors that MLflow's request reader lets through as status 500: no content type, brackets thousands deep, a number of
thousands of digits. Errors of the model never get here, because MLflow answers them itself."""
WRITER = "predictions_to_json"
"""MLflow's function that writes an answer; an error in it is not the request's fault."""


def serve(name: str, *, version: int | None, host: str, port: int, limits: Limits) -> NoReturn:
    """Answer `/invocations`, `/ping` and `/version` as `mlflow models serve` does, until the process ends.

    Serves the model's champion if `version` is None.

    Raises:
        UserError: tracking is off, there is no such model or version, it cannot be loaded, or the address is not
            free.
    """
    address = check_free(host, port)
    uri = _model_uri(name, version)
    app = Limited(_scoring_app(uri), limits, path="/invocations")
    if not address.is_loopback:
        log.warning("%s can be reached from other machines, and there is no password: put one in front", host)
    summary = "%s: requests of at most %g MiB, sent within %g s; %d may wait, and hold %g MiB together"
    place = f"{uri} on http://{host}:{port}"
    log.info(summary, place, limits.mib, limits.seconds, limits.requests, limits.total_mib)
    asyncio.run(_listen(app, str(address), port, limits))
    logging.shutdown()
    os._exit(0)  # Granian's threads sometimes abort a process whose interpreter ends in the usual way.


async def _listen(app: Limited, address: str, port: int, limits: Limits) -> None:
    """Answer until SIGINT or SIGTERM; what has been accepted then is still answered, for a while."""
    server = Server(
        app,
        address=address,
        port=port,
        interface=Interfaces.ASGINL,  # without ASGI's messages about the start, which MLflow's application ignores
        http=HTTPModes.http1,
        websockets=False,
        backlog=2 * CONNECTIONS,
        backpressure=CONNECTIONS,
        http1_settings=HTTP1Settings(
            header_read_timeout=max(1, round(1000 * min(limits.seconds, HEADER_SECONDS))),
            max_buffer_size=HEADER_BYTES,
        ),
        log_level=LogLevels.error,
        log_dictconfig={"loggers": {"_granian": {"propagate": True}}},
    )
    loop, serving = asyncio.get_running_loop(), asyncio.ensure_future(server.serve())

    def stop() -> None:
        server.stop()
        loop.call_later(STOP_SECONDS, serving.cancel)

    for kind in (signal.SIGINT, signal.SIGTERM):
        if sys.platform == "win32":
            signal.signal(kind, lambda *_: loop.call_soon_threadsafe(stop))
        else:
            loop.add_signal_handler(kind, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


def _model_uri(name: str, version: int | None) -> str:
    require_store("serve from")
    return registry.version_or_champion(open_store(), name, version).uri


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
