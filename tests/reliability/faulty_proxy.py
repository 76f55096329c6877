"""A proxy before an HTTP server that breaks a chosen number of its answers, each in one of the ways that networks do."""

import http.client
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Fault = Literal["500", "reset", "lost answer", "cut", "hang", "slow", "wrong byte", "skewed clock"]
SKEWED = b"<Error><Code>RequestTimeTooSkewed</Code><Message>the clocks differ</Message></Error>"


class Proxy(ThreadingHTTPServer):
    """Forwards requests; the next `left` requests of `method` (None: any) meet `fault` instead."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target)
        self.fault: Fault | None = None
        self.method: str | None = None
        self.left = self.broken = self.requests = 0
        self.hang_seconds = 4.0
        self._lock = threading.Lock()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def break_next(self, fault: Fault, times: int, *, method: str | None = None) -> None:
        self.fault, self.left, self.method, self.broken, self.requests = fault, times, method, 0, 0

    def take(self, method: str) -> Fault | None:
        with self._lock:
            self.requests += 1
            if not self.left or self.method not in (None, method):
                return None
            self.left -= 1
            self.broken += 1
            return self.fault

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print no trace if the client has given up on a slow answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        fault = self.server.take(self.command)
        if fault == "reset":
            return self._reset()
        if fault in ("500", "skewed clock"):
            text = SKEWED if fault == "skewed clock" else b""
            return self._answer(500 if fault == "500" else 403, {}, text)
        if fault == "hang":
            time.sleep(self.server.hang_seconds)
            return self._reset()
        target = self.server.target
        upstream = http.client.HTTPConnection(str(target.hostname), target.port, timeout=60)
        upstream.request(self.command, self.path, body, dict(self.headers))
        answer = upstream.getresponse()
        content, headers = answer.read(), dict(answer.getheaders())
        upstream.close()
        if fault == "lost answer":
            return self._reset()
        if fault == "wrong byte" and content:
            content = bytes([content[0] ^ 1]) + content[1:]
        return self._answer(answer.status, headers, content, cut=fault == "cut", slow=fault == "slow")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = _any  # noqa: N815

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes, *, cut: bool = False, slow: bool = False
    ) -> None:
        self.send_response_only(status)
        kept = {
            name: value
            for name, value in headers.items()
            if name.lower() not in ("transfer-encoding", "connection")
        }
        if self.command != "HEAD":
            kept = {name: value for name, value in kept.items() if name.lower() != "content-length"}
            kept["Content-Length"] = str(len(content))
        for name, value in kept.items():
            self.send_header(name, value)
        self.end_headers()
        if cut:
            self.wfile.write(content[: len(content) // 2])
            return self._reset()
        if slow:
            for first in range(0, len(content), max(1, len(content) // 20)):
                time.sleep(0.02)
                self.wfile.write(content[first : first + max(1, len(content) // 20)])
        elif self.command != "HEAD":
            self.wfile.write(content)
        return None

    def _reset(self) -> None:
        """Close the connection by a reset, which a plain close would not send."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def finish(self) -> None:
        if self.connection.fileno() >= 0:
            super().finish()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    server = Proxy(target)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
