"""Limits on requests: only complete requests within the limits reach the application, a few at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from components.serving.request_limits import AT_A_TIME, MIB, PIECE_BYTES, Limited, Limits, Message

SMALL = Limits(mib=1 / 1024, seconds=0.05, requests=1)
"""A KiB within 50 ms."""
MODEL = "/invocations"
GONE = {"type": "http.disconnect"}
SILENCE = {"type": "silence"}


def _part(size: int, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": b"x" * size, "more_body": more}


class _Echo:
    """An application that records its requests and how many it has at a time, and answers once `ready` is set."""

    def __init__(self, ready: asyncio.Event | None = None, answer: bytes = b"") -> None:
        self.ready = ready
        self.answer = answer
        self.received: list[Message] = []
        self.running = self.most = 0

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Message]], send: Any) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        self.received.append(await receive())
        if self.ready:
            await self.ready.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self.answer})
        self.running -= 1


class _Client:
    """A connection that sends `parts` and records the answers."""

    def __init__(self, *parts: Message, **headers: str) -> None:
        self.parts = list(parts)
        self.scope = {
            "type": "http",
            "path": MODEL,
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        }
        self.answers: list[Message] = []
        self.reads = True

    async def receive(self) -> Message:
        part = self.parts.pop(0) if self.parts else SILENCE
        if part is SILENCE:
            await asyncio.sleep(60)
        return part

    async def send(self, message: Message) -> None:
        if self.reads:
            self.answers.append(message)
        else:
            await asyncio.sleep(60)

    @property
    def status(self) -> int | None:
        return self.answers[0]["status"] if self.answers else None

    @property
    def text(self) -> str:
        return b"".join(answer.get("body", b"") for answer in self.answers).decode()


def _received(client: _Client, limits: Limits = SMALL) -> list[Message]:
    echo = _Echo()
    asyncio.run(Limited(echo, limits, paths=(MODEL,))(client.scope, client.receive, client.send))
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


def _together(echo: Any, limits: Limits, *clients: _Client, ready_after: float = 0.1) -> None:
    """Let clients send at once, and the application answer after a while."""

    async def run() -> None:
        limited = Limited(echo, limits, paths=(MODEL,))
        if isinstance(echo, _Echo):
            echo.ready = asyncio.Event()
            asyncio.get_running_loop().call_later(ready_after, echo.ready.set)
        await asyncio.gather(
            *(limited(client.scope, client.receive, client.send) for client in clients),
            return_exceptions=True,
        )
        assert limited._places == limited._held_bytes == 0 and not limited._turns.locked()

    asyncio.run(run())


def test_requests_wait_for_their_turn() -> None:
    echo, clients = _Echo(), [_Client(_part(1)) for _ in range(32)]
    _together(echo, Limits(), *clients)
    assert [client.status for client in clients] == [200] * 32
    assert echo.most == AT_A_TIME


def test_one_request_too_many_is_answered_503() -> None:
    clients = [_Client(_part(1)) for _ in range(2)]
    _together(_Echo(), SMALL, *clients)
    assert [client.status for client in clients] == [200, 503]
    assert clients[1].text == "1 requests wait for the model, and no more can; try again\n"


def test_a_wait_that_is_too_long_is_answered_503() -> None:
    clients = [_Client(_part(1)) for _ in range(AT_A_TIME + 1)]
    _together(_Echo(), Limits(seconds=0.05), *clients, ready_after=0.2)
    assert [client.status for client in clients] == [200] * AT_A_TIME + [503]
    assert clients[-1].text == "the model was busy for 0.05 s; try again\n"


def test_slow_bodies_take_no_place() -> None:
    slow = [_Client(_part(1, more=True), SILENCE) for _ in range(20)]
    quick = _Client(_part(1))
    _together(_Echo(), SMALL, *slow, quick, ready_after=0.01)
    assert quick.status == 200
    assert {client.status for client in slow} == {408}


def test_other_paths_do_not_wait_for_the_model() -> None:
    echo, clients = _Echo(), [_Client(_part(1)) for _ in range(AT_A_TIME + 1)]
    clients[-1].scope["path"] = "/ping"
    _together(echo, Limits(), *clients)
    assert echo.most == AT_A_TIME + 1


def test_all_requests_together_hold_limited_memory() -> None:
    limits = Limits(mib=1, total_mib=2)
    clients = [_Client(_part(MIB // 2, more=True), _part(MIB // 2)) for _ in range(3)]
    echo = _Echo()
    _together(echo, limits, *clients)
    assert [client.status for client in clients] == [200, 200, 503]
    assert clients[-1].text == "all requests together hold more than 2 MiB; try again\n"
    large = _Client(_part(1))
    _together(_Echo(answer=b"x" * 3 * MIB), limits, large)
    assert large.status == 503


def test_a_client_that_leaves_the_queue_costs_no_answer() -> None:
    echo, left = _Echo(), _Client(_part(1), GONE)
    _together(echo, Limits(), *(_Client(_part(1)) for _ in range(AT_A_TIME)), left)
    assert len(echo.received) == AT_A_TIME and left.answers == []


def test_a_client_that_reads_nothing_gives_its_place_back() -> None:
    deaf = _Client(_part(1))
    deaf.reads = False
    _together(_Echo(), SMALL, deaf)


def test_a_long_answer_is_sent_in_pieces() -> None:
    answer = bytes(range(256)) * (PIECE_BYTES // 100)
    client = _Client(_part(1))
    _together(_Echo(answer=answer), Limits(), client)
    assert b"".join(part.get("body", b"") for part in client.answers) == answer
    assert [part["more_body"] for part in client.answers[1:]] == [True, True, False]


def test_a_failed_request_frees_its_place() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("no answer")

    _together(broken, Limits(), _Client(_part(1)))
    client = _Client(_part(1))
    with pytest.raises(RuntimeError, match="no answer"):
        asyncio.run(Limited(broken, Limits(), paths=(MODEL,))(client.scope, client.receive, client.send))


@pytest.mark.parametrize("wrong", [{"mib": 0}, {"seconds": -1}, {"requests": 0}, {"mib": float("nan")}])
def test_a_limit_must_be_positive(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"limit \w+=.*; it must be more than 0"):
        Limits(**wrong)


def test_a_request_may_not_be_larger_than_all_together() -> None:
    with pytest.raises(ValueError, match="mib=100 of a request is above total_mib=50 .*--max-total-mib"):
        Limits(total_mib=50)


def test_a_limit_may_be_infinite() -> None:
    client = _Client(_part(2000), content_length="2000")
    endless = float("inf")
    assert len(_received(client, Limits(mib=endless, seconds=endless, total_mib=endless))) == 1


def test_a_limit_is_in_mebibytes() -> None:
    client = _Client(_part(3 * MIB // 2))
    assert len(_received(client, Limits(mib=1.5, seconds=10))) == 1
