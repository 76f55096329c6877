"""Limits on the requests for a model: size, memory of all together, time, and the number that wait for their turn.

The server limits headers and connections. This limits what it cannot: the bodies, which an application reads whole into
memory before a model sees them, and how many of them the model works on at a time.
"""

import asyncio
import contextlib
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cascade_core.errors import UserError

log = logging.getLogger(__name__)

MIB = 2**20
AT_A_TIME = 2
"""Requests that the application answers at a time: one is read or written while the model works on the other."""
PIECE_BYTES = 2**18
"""Answers are sent in pieces, since a server holds back a sender between two pieces only."""


@dataclass(frozen=True)
class Limits:
    """The MiB of a request and of all together, the requests that wait, and the seconds each may take.

    `seconds` is the time for each part of a request: until all of it has arrived, until its turn, and until the client
    has taken the answer.
    """

    mib: float = 100
    seconds: float = 60
    requests: int = 64
    total_mib: float = 800

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:  # also true of NaN
                raise UserError(f"limit {name}={value}; it must be more than 0")
        if self.mib > self.total_mib:
            raise UserError(
                f"limit mib={self.mib:g} of a request is above total_mib={self.total_mib:g} of all together; "
                "raise --max-total-mib, or lower --max-mib"
            )


class _RefusedError(Exception):
    """A request is answered with a status and a reason; `unread` if the rest of it is still to come."""

    def __init__(self, status: int, reason: str, *, unread: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.unread = unread


@dataclass
class _Share:
    """The bytes that a request holds in memory, of those that all requests may hold together."""

    size: int = 0


class Limited:
    """An ASGI application that passes complete requests for `paths` to another one, a few at a time, in their order.

    It answers other requests itself: 413 if too large, 408 if too slow, 503 if too many wait, they wait too long, or
    their bodies and answers would take more memory than all may hold. A request whose sender disconnects is dropped. A
    body takes a place in the queue once it is complete, so that slow senders keep nobody waiting.
    """

    def __init__(self, app: ASGIApp, limits: Limits, *, paths: Collection[str]) -> None:
        self.app = app
        self.limits = limits
        self.paths = frozenset(paths)
        self._turns = asyncio.Semaphore(AT_A_TIME)
        self._places = 0
        self._held_bytes = 0

    @property
    def places(self) -> int:
        """The number of complete requests that wait or are answered."""
        return self._places

    @property
    def held_bytes(self) -> int:
        """The memory of all requests and answers together."""
        return self._held_bytes

    @property
    def is_full(self) -> bool:
        """Whether one more request would be refused."""
        return self._places >= self.limits.requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in self.paths:
            await self.app(scope, receive, send)
            return
        try:
            with self._share() as share:
                body = await self._body(Request(scope, receive), share)
                with self._place():
                    answer = await self._answer(scope, receive, body, share)
                    await self._send(answer, send)
        except ClientDisconnect:
            pass
        except _RefusedError as refused:
            await self._refuse(refused, scope, receive, send)

    @contextlib.contextmanager
    def _share(self) -> Iterator[_Share]:
        share = _Share()
        try:
            yield share
        finally:
            self._held_bytes -= share.size

    def _hold(self, share: _Share, size: int, *, unread: bool = False) -> None:
        self._held_bytes += size - share.size
        share.size = size
        if self._held_bytes > self.limits.total_mib * MIB:
            reason = f"all requests together hold more than {self.limits.total_mib:g} MiB; try again"
            raise _RefusedError(503, reason, unread=unread)

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if self.is_full:
            raise _RefusedError(
                503, f"{self._places} requests wait for the model, and no more can; try again"
            )
        self._places += 1
        try:
            yield
        finally:
            self._places -= 1

    async def _body(self, request: Request, share: _Share) -> bytearray:
        limit = self.limits.mib * MIB
        too_large = _RefusedError(
            413, f"the request has more than the {self.limits.mib:g} MiB that are allowed", unread=True
        )
        # The server has already checked that the header is a number.
        if int(request.headers.get("content-length", 0)) > limit:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.seconds):
                async for part in request.stream():
                    body += part
                    if len(body) > limit:
                        raise too_large
                    self._hold(share, len(body), unread=True)
        except TimeoutError:
            reason = f"the request did not arrive within {self.limits.seconds:g} s"
            raise _RefusedError(408, reason) from None
        return body

    async def _answer(self, scope: Scope, receive: Receive, body: bytearray, share: _Share) -> list[Message]:
        """Wait for a turn, and return the application's whole answer, so that no slow reader keeps the turn."""
        answer: list[Message] = []

        async def collect(message: Message) -> None:
            answer.append(message)

        gone = asyncio.ensure_future(
            receive()
        )  # After the body, the only message is that the client is gone.
        try:
            try:
                async with asyncio.timeout(self.limits.seconds):
                    await self._turns.acquire()
            except TimeoutError:
                reason = f"the model was busy for {self.limits.seconds:g} s; try again"
                raise _RefusedError(503, reason) from None
            try:
                if gone.done():
                    raise ClientDisconnect
                await self.app(scope, _replayed(body, gone), collect)
            finally:
                self._turns.release()
        finally:
            gone.cancel()
        self._hold(share, sum(len(message.get("body", b"")) for message in answer))
        return answer

    async def _send(self, answer: list[Message], send: Send) -> None:
        try:
            async with asyncio.timeout(self.limits.seconds):
                for message in answer:
                    for piece in _pieces(message):
                        await send(piece)
        except TimeoutError:
            log.warning("a client did not take its answer within %g s", self.limits.seconds)

    async def _refuse(self, refused: _RefusedError, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the reason and close the connection.

        Read and discard the rest of an unread request for a while, since many clients read an answer only after they
        have sent everything. A client that asks first (`Expect: 100-continue`) gets the answer at once.
        """
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await send({"type": "http.response.body", "body": f"{refused}\n".encode(), "more_body": True})
        if refused.unread and "expect" not in Headers(scope=scope):
            with contextlib.suppress(TimeoutError):  # The client has had the answer for that long.
                async with asyncio.timeout(self.limits.seconds):
                    while (await receive()).get("more_body", False):
                        pass
        await send({"type": "http.response.body", "body": b""})


def _replayed(body: bytearray, gone: asyncio.Future[Message]) -> Receive:
    """Return a `receive` that gives the whole request in one message, and then that the client is gone."""
    waiting = [body]

    async def replayed() -> Message:
        if not waiting:
            return await asyncio.shield(gone)
        content = bytes(waiting[0])
        waiting.pop().clear()
        return {"type": "http.request", "body": content, "more_body": False}

    return replayed


def _pieces(message: Message) -> Iterator[Message]:
    if message["type"] != "http.response.body":
        yield message
        return
    content = message.get("body", b"")
    for start in range(0, len(content) or 1, PIECE_BYTES):
        end = start + PIECE_BYTES
        more = end < len(content) or message.get("more_body", False)
        yield {**message, "body": content[start:end], "more_body": more}
