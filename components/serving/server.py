"""Serve a registered model over HTTP: MLflow's scoring application, with limits on its requests.

Granian reads connections: it has deadlines for headers and limits on their size. uvicorn has no deadline for headers, and
hypercorn takes HTTP/2, which has none there.
"""

import asyncio
import base64
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import walk_tb
from typing import Any, NoReturn

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from cascade_core.errors import UserError
from cascade_core.predictor import Predictor
from components.registry import versions as registry
from components.serving.listening import check_free
from components.serving.metrics import Measured
from components.serving.receiving import Receiving
from components.serving.request_limits import Limited, Limits
from components.serving.routes import DEMO, READY, SEGMENT, Routes
from components.tracking.displacement import check_place
from components.tracking.faults import first_line, translate_errors
from components.tracking.store import open_existing_store, require_store

log = logging.getLogger(__name__)

INVOCATIONS = "/invocations"
MEASURED = (INVOCATIONS, SEGMENT, READY, "/", "/health", "/ping", "/version")
"""The paths that metrics name; all others are one."""
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


MakeDemo = Callable[[Predictor, str, Path], Any]
"""Makes the demo's application for a model, at a path and with a folder for its files."""


def serve(
    name: str,
    *,
    version: int | None,
    host: str,
    port: int,
    limits: Limits,
    make_demo: MakeDemo | None = None,
) -> NoReturn:
    """Answer `/invocations`, `/ping` and `/version` as `mlflow models serve` does, until the process ends.

    Also answers a start page, `/segment`, `/ready` and `/metrics` (`routes`, `metrics`), and the demo of `make_demo` at
    `/demo/`. Serves the model's champion if `version` is None.

    Raises:
        UserError: tracking is off, the store was moved, there is no such model or version, it cannot be loaded, or the address is not
            free.
    """
    address = check_free(host, port)
    uri = _model_uri(name, version)
    model = _load(uri)
    routes = Routes(partial(_ask, model), _predictor_of(model), uri=uri)
    app = _scoring_app(model)
    routes.add_to(app)
    with TemporaryDirectory(prefix="cascade-serve-") as folder:
        routes.limited = limited = Limited(app, limits, paths=(INVOCATIONS, SEGMENT))
        whole: ASGIApp = limited
        lifespan: Callable[[], AbstractAsyncContextManager[Any]] = nullcontext
        if make_demo is not None and routes.predictor is not None:
            demo, routes.has_demo = make_demo(routes.predictor, DEMO, Path(folder)), True
            # Not inside of MLflow's application, whose limit on time fails where a browser leaves.
            whole, lifespan = _with_demo(limited, demo), partial(demo.router.lifespan_context, demo)
        measured = Measured(whole, limited, paths=MEASURED)
        place = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        _log_start(address, host, place, routes, limits)
        asyncio.run(_listen(measured, routes, lifespan, str(address), port, limits))
    logging.shutdown()
    os._exit(0)  # Granian's threads sometimes abort a process whose interpreter ends in the usual way.


def _with_demo(app: ASGIApp, demo: ASGIApp) -> ASGIApp:
    """Return an application that passes requests below `DEMO` to the demo, and others on."""

    async def split(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path == DEMO or path.startswith(f"{DEMO}/"):
            # Gradio compresses answers and loses those that a server reads from a path itself, as Granian offers.
            messages = Receiving(receive)
            try:
                await demo({**scope, "extensions": {}}, messages, send)
            finally:
                messages.close()
        else:
            await app(scope, receive, send)

    return split


def _log_start(
    address: IPv4Address | IPv6Address, host: str, place: str, routes: Routes, limits: Limits
) -> None:
    if not address.is_loopback:
        log.warning("%s can be reached from other machines, and there is no password: put one in front", host)
    summary = "%s: requests of at most %g MiB, sent within %g s; %d may wait, and hold %g MiB together"
    log.info(
        summary, f"{routes.uri} on {place}", limits.mib, limits.seconds, limits.requests, limits.total_mib
    )
    log.info(
        "open %s/%s, or try: %s",
        place,
        " (and the demo there)" if routes.has_demo else "",
        routes.curl(place),
    )


async def _listen(
    app: ASGIApp,
    routes: Routes,
    lifespan: Callable[[], AbstractAsyncContextManager[Any]],
    address: str,
    port: int,
    limits: Limits,
) -> None:
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
    loop = asyncio.get_running_loop()
    # Granian sends no messages about the start (see above), but the demo needs them.
    async with lifespan():
        await _serve_until_stopped(server, routes, loop)


async def _serve_until_stopped(server: Server, routes: Routes, loop: asyncio.AbstractEventLoop) -> None:
    serving = asyncio.ensure_future(server.serve())

    def stop() -> None:
        routes.ready = False
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
    client = open_existing_store("serve from")
    check_place(client)
    return registry.version_or_champion(client, name, version).uri


def _load(uri: str) -> Any:
    import mlflow

    with translate_errors(uri, way_out="check that the artifact store is there"):
        return mlflow.pyfunc.load_model(uri)


def _predictor_of(model: Any) -> Predictor | None:
    """Return the predictor inside a served model; None for a version whose code keeps none under that name."""
    predictor = getattr(model.unwrap_python_model(), "predictor", None)
    return predictor if isinstance(predictor, Predictor) else None


def _ask(model: Any, content: bytes, labels: Sequence[str]) -> Mapping[str, Any]:
    """Label an image file through MLflow's interface, which checks it as it does for `/invocations`.

    Raises:
        UserError: the model refuses the picture or the labels.
    """
    import pandas as pd
    from mlflow.exceptions import MlflowException

    row = {"image": base64.b64encode(content).decode("ascii"), "labels": list(labels)}
    try:
        (answer,) = model.predict(pd.DataFrame([row]))
    except MlflowException as error:
        if error.get_http_status_code() >= 500:
            raise
        raise UserError(str(error).removeprefix("row 0: ")) from error
    return dict(answer)


def _scoring_app(model: Any) -> Any:
    """Return MLflow's application for a model."""
    from mlflow.pyfunc import scoring_server

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
