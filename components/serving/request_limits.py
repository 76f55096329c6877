"""Limits on what a web application is asked at once: the size of a request, the time it may take to arrive, their number.

Application servers read a whole request into memory before a model sees it, and have no setting for its size.
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
    """What one request may have, in MiB and seconds until all of it is there, and how many are answered at once."""

    mib: float = 100
    seconds: float = 60
    requests: int = 8

    def __post_init__(self) -> None:
        for name in ("mib", "seconds", "requests"):
            # Written so that a value that is no number is refused, too.
            if not getattr(self, name) > 0:
                raise UserError(f"limit {name}={getattr(self, name)}; it must be more than 0")


class TooLargeError(Exception):
    """A request said that it has more bytes than allowed, or went on after that many."""


class Limited:
    """An ASGI application in front of another one, which gets only whole requests within the limits.

    Others are answered without it: 413 if too large, 408 if not there in time, 503 if too many are at work. So
    memory for requests stays below `requests` times `mib`. One whose sender goes away is dropped.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif self._running >= self.limits.requests:
            told = f"{self._running} requests are being answered, and no more at once; try again"
            await self._refuse(503, told, scope, receive, send)
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
        except TooLargeError:
            told = f"the request has more than the {self.limits.mib:g} MiB that are allowed"
            await self._refuse(413, told, scope, receive, send)
        except TimeoutError:
            told = f"the request was not there within {self.limits.seconds:g} s"
            await self._refuse(408, told, scope, receive, send, drain=False)
        else:
            await self.app(scope, _replayed(body, receive), send)

    async def _body(self, request: Request) -> bytes:
        """Read the whole request."""
        most = self.limits.mib * MIB
        # The server below has seen that it is a number.
        if int(request.headers.get("content-length", 0)) > most:
            raise TooLargeError
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > most:
                raise TooLargeError
        return bytes(body)

    async def _refuse(
        self,
        status: int,
        told: str,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        drain: bool = True,
    ) -> None:
        """Answer with a reason and close the connection.

        What is still coming is read and thrown away for a while, since many clients look for an answer only when all
        is sent; one that asks before it sends (`Expect: 100-continue`) is told at once.
        """
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": f"{told}\n".encode(), "more_body": True})
        if drain and "expect" not in Headers(scope=scope):
            with contextlib.suppress(TimeoutError):  # Whoever still sends has had the answer for that long.
                async with asyncio.timeout(self.limits.seconds):
                    while (await receive()).get("more_body", False):
                        pass
        await send({"type": "http.response.body", "body": b""})


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Give the whole request as one message, and after it what else the connection says: that its end is reached."""
    waiting = [body]

    async def replayed() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replayed
