"""Limits on requests: only complete requests within the limits reach the application."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from components.serving.request_limits import MIB, Limited, Limits, Message

SMALL = Limits(mib=1 / 1024, seconds=0.05, requests=1)
"""A KiB within 50 ms."""
GONE = {"type": "http.disconnect"}
SILENCE = {"type": "silence"}


def _part(size: int, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


class _Echo:
    """An application that records its requests, and answers once `ready` is set."""

    def __init__(self, ready: asyncio.Event | None = None) -> None:
        self.ready = ready
        self.received: list[Message] = []

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Message]], send: Any) -> None:
        self.received.append(await receive())
        if self.ready:
            await self.ready.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class _Client:
    """A connection that sends `parts` and records the answers."""

    def __init__(self, *parts: Message, **headers: str) -> None:
        self.parts = list(parts)
        self.scope = {
            "type": "http",
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        }
        self.answers: list[Message] = []

    async def receive(self) -> Message:
        part = self.parts.pop(0) if self.parts else GONE
        if part is SILENCE:
            await asyncio.sleep(60)
        return part

    async def send(self, message: Message) -> None:
        self.answers.append(message)

    @property
    def status(self) -> int | None:
        return self.answers[0]["status"] if self.answers else None

    @property
    def text(self) -> str:
        return b"".join(answer.get("body", b"") for answer in self.answers).decode()


def _received(client: _Client, limits: Limits = SMALL) -> list[Message]:
    echo = _Echo()
    asyncio.run(Limited(echo, limits)(client.scope, client.receive, client.send))
    return echo.received


@pytest.mark.parametrize("parts", [(1024,), (1000, 24), (1, 1022, 1), (0,)])
def test_a_request_within_the_limits_arrives_in_one_piece(parts: tuple[int, ...]) -> None:
    client = _Client(*[_part(size, more=i < len(parts) - 1) for i, size in enumerate(parts)])
    assert _received(client) == [_part(sum(parts))]
    assert client.status == 200


@pytest.mark.parametrize(
    "client",
    [
        _Client(_part(1025), content_length="1025"),
        _Client(_part(1025)),
        _Client(_part(1000, more=True), _part(25, more=True), _part(5)),
    ],
    ids=["as it says itself", "in one part", "in parts"],
)
def test_one_byte_too_many_is_answered_413_and_drained(client: _Client) -> None:
    assert _received(client) == []
    assert (client.status, client.parts) == (413, [])
    assert client.text == "the request has more than the 0.000976562 MiB that are allowed\n"
    assert (b"connection", b"close") in client.answers[0]["headers"]
    assert client.answers[-1].get("more_body", False) is False


def test_a_client_that_asks_first_is_answered_at_once() -> None:
    client = _Client(_part(2000), content_length="2000", expect="100-continue")
    assert _received(client) == [] and client.status == 413
    assert len(client.parts) == 1


def test_too_large_a_request_that_stops_is_answered() -> None:
    client = _Client(_part(2000, more=True), SILENCE)
    assert _received(client) == [] and client.status == 413


def test_a_slow_request_is_answered_408() -> None:
    client = _Client(_part(10, more=True), SILENCE)
    assert _received(client) == [] and client.status == 408
    assert client.text == "the request did not arrive within 0.05 s\n"


def test_a_request_whose_client_disconnects_is_dropped() -> None:
    client = _Client(_part(10, more=True), GONE)
    assert _received(client) == [] and client.answers == []


def test_one_request_too_many_is_answered_503() -> None:
    async def three() -> tuple[list[int | None], int]:
        ready = asyncio.Event()
        echo = _Echo(ready)
        limited = Limited(echo, SMALL)
        clients = [_Client(_part(1)) for _ in range(3)]
        first = asyncio.create_task(limited(clients[0].scope, clients[0].receive, clients[0].send))
        await asyncio.sleep(0)
        await limited(clients[1].scope, clients[1].receive, clients[1].send)
        ready.set()
        await first
        await limited(clients[2].scope, clients[2].receive, clients[2].send)
        return [client.status for client in clients], len(echo.received)

    assert asyncio.run(three()) == ([200, 503, 200], 2)


def test_a_failed_request_frees_its_slot() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("no answer")

    limited = Limited(broken, SMALL)
    for _ in range(2):
        client = _Client(_part(1))
        with pytest.raises(RuntimeError, match="no answer"):
            asyncio.run(limited(client.scope, client.receive, client.send))


def test_the_servers_own_messages_pass() -> None:
    client = _Client({"type": "lifespan.startup"})
    client.scope["type"] = "lifespan"
    assert _received(client) == [{"type": "lifespan.startup"}]


@pytest.mark.parametrize("wrong", [{"mib": 0}, {"seconds": -1}, {"requests": 0}, {"mib": float("nan")}])
def test_a_limit_must_be_positive(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"limit \w+=.*; it must be more than 0"):
        Limits(**wrong)


def test_a_limit_may_be_infinite() -> None:
    client = _Client(_part(2000), content_length="2000")
    assert len(_received(client, Limits(mib=float("inf"), seconds=float("inf")))) == 1


def test_a_limit_is_in_mebibytes() -> None:
    client = _Client(_part(3 * MIB // 2))
    assert len(_received(client, Limits(mib=1.5, seconds=10))) == 1
