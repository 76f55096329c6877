"""Metrics for Prometheus: requests by path and status, their duration, and what waits."""

import time
from collections.abc import Collection

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from components.serving.request_limits import Limited

PATH = "/metrics"
OTHER = "other"
"""The path of requests to all other paths: a label of a metric takes few values only."""
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Measured:
    """An ASGI application that counts and times the requests to another one, and answers `/metrics`."""

    def __init__(self, app: ASGIApp, limited: Limited, *, paths: Collection[str]) -> None:
        self.app = app
        self.paths = frozenset(paths)
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        names = ("path", "status")
        self._requests = Counter("cascade_requests", "Answered requests.", names, registry=self.registry)
        self._seconds = Histogram(
            "cascade_request_seconds",
            "Seconds from a request's headers to the end of its answer.",
            ("path",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        waiting = Gauge(
            "cascade_requests_waiting", "Complete requests that wait or are answered.", registry=self.registry
        )
        waiting.set_function(lambda: limited.places)
        held = Gauge(
            "cascade_held_bytes", "Memory of all requests and answers together.", registry=self.registry
        )
        held.set_function(lambda: limited.held_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["path"] == PATH:
            answer = Response(generate_latest(self.registry), headers={"content-type": CONTENT_TYPE_LATEST})
            await answer(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self.paths else OTHER
        began, status = time.perf_counter(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            # Without a status the client was gone before the answer, or the application failed.
            self._requests.labels(path, str(status or "none")).inc()
            self._seconds.labels(path).observe(time.perf_counter() - began)
