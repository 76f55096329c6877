"""Limits on requests: what is within them arrives whole, and nothing else does."""

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
    """An application that answers with the size of the request, once `ready`; counts its calls."""

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
    """One connection: sends `parts`, and keeps what it is answered."""

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
    def told(self) -> str:
        return b"".join(one.get("body", b"") for one in self.answers).decode()


def _asked(client: _Client, limits: Limits = SMALL) -> list[Message]:
    echo = _Echo()
    asyncio.run(Limited(echo, limits)(client.scope, client.receive, client.send))
    return echo.received


@pytest.mark.parametrize("parts", [(1024,), (1000, 24), (1, 1022, 1), (0,)])
def test_a_request_within_the_limits_arrives_whole_however_it_was_cut(parts: tuple[int, ...]) -> None:
    client = _Client(*[_part(size, more=i < len(parts) - 1) for i, size in enumerate(parts)])
    assert _asked(client) == [_part(sum(parts))]
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
def test_a_byte_too_many_is_answered_413_and_all_that_comes_is_taken(client: _Client) -> None:
    assert _asked(client) == []
    assert (client.status, client.parts) == (413, [])
    assert client.told == "the request has more than the 0.000976562 MiB that are allowed\n"
    assert (b"connection", b"close") in client.answers[0]["headers"]
    assert client.answers[-1].get("more_body", False) is False


def test_who_asks_before_sending_is_told_before_anything_is_sent() -> None:
    client = _Client(_part(2000), content_length="2000", expect="100-continue")
    assert _asked(client) == [] and client.status == 413
    assert len(client.parts) == 1


def test_one_who_sends_too_much_and_stops_gets_an_answer_all_the_same() -> None:
    client = _Client(_part(2000, more=True), SILENCE)
    assert _asked(client) == [] and client.status == 413


def test_a_request_that_does_not_come_in_time_is_answered_408() -> None:
    client = _Client(_part(10, more=True), SILENCE)
    assert _asked(client) == [] and client.status == 408
    assert client.told == "the request was not there within 0.05 s\n"


def test_who_goes_away_is_dropped() -> None:
    client = _Client(_part(10, more=True), GONE)
    assert _asked(client) == [] and client.answers == []


def test_one_too_many_is_answered_503_and_the_next_one_is_not() -> None:
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


def test_a_request_that_fails_makes_room_again() -> None:
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
    assert _asked(client) == [{"type": "lifespan.startup"}]


@pytest.mark.parametrize("wrong", [{"mib": 0}, {"seconds": -1}, {"requests": 0}, {"mib": float("nan")}])
def test_a_limit_that_lets_nothing_in_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"limit \w+=.*; it must be more than 0"):
        Limits(**wrong)


def test_a_limit_may_be_infinite() -> None:
    client = _Client(_part(2000), content_length="2000")
    assert len(_asked(client, Limits(mib=float("inf"), seconds=float("inf")))) == 1


def test_a_limit_is_in_mebibytes() -> None:
    client = _Client(_part(3 * MIB // 2))
    assert len(_asked(client, Limits(mib=1.5, seconds=10))) == 1
