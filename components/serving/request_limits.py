"""Limits on the requests to a web application: size, time to arrive, and number at a time.

Application servers read a whole request into memory before a model sees it, and cannot limit its size.
"""

import asyncio
import contextlib
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cascade_core.errors import UserError

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """The size of a request in MiB, the seconds until all of it has arrived, and the number of requests at a time."""

    mib: float = 100
    seconds: float = 60
    requests: int = 8

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:  # also true of NaN
                raise UserError(f"limit {name}={value}; it must be more than 0")


class Limited:
    """An ASGI application that passes complete requests within the limits to another one.

    It answers other requests itself: 413 if too large, 408 if too slow, 503 if too many at a time. Requests therefore
    take at most `requests` times `mib` of memory. A request whose sender disconnects is dropped.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif self._running >= self.limits.requests:
            reason = f"{self._running} requests are being answered, as many as are allowed; try again"
            await self._refuse(503, reason, scope, receive, send)
        else:
            self._running += 1
            try:
                await self._answer(scope, receive, send)
            finally:
                self._running -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self.limits.seconds):
                body = await self._body(Request(scope, receive))
        except ClientDisconnect:
            return
        except TimeoutError:
            reason = f"the request did not arrive within {self.limits.seconds:g} s"
            await self._refuse(408, reason, scope, receive, send, drain=False)
            return
        if body is None:
            reason = f"the request has more than the {self.limits.mib:g} MiB that are allowed"
            await self._refuse(413, reason, scope, receive, send)
        else:
            await self.app(scope, _replayed(body, receive), send)

    async def _body(self, request: Request) -> bytes | None:
        """Return the whole body, or None if it is too large."""
        limit = self.limits.mib * MIB
        # The server has already checked that the header is a number.
        if int(request.headers.get("content-length", 0)) > limit:
            return None
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > limit:
                return None
        return bytes(body)

    async def _refuse(
        self, status: int, reason: str, scope: Scope, receive: Receive, send: Send, *, drain: bool = True
    ) -> None:
        """Answer with a reason and close the connection.

        With `drain`, read and discard the rest of the request for a while, since many clients read an answer only
        after they have sent everything. A client that asks first (`Expect: 100-continue`) gets the answer at once.
        """
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": f"{reason}\n".encode(), "more_body": True})
        if drain and "expect" not in Headers(scope=scope):
            with contextlib.suppress(TimeoutError):  # The client has had the answer for that long.
                async with asyncio.timeout(self.limits.seconds):
                    while (await receive()).get("more_body", False):
                        pass
        await send({"type": "http.response.body", "body": b""})


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the whole request in one message, and then the connection's other messages."""
    waiting = [body]

    async def replayed() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replayed
