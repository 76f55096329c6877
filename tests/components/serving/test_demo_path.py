"""Which requests go to the demo of a served model, what the demo must not see, and how it asks for a request's messages."""

import asyncio
import contextlib
from typing import Any

import pytest

from components.serving.receiving import Receiving
from components.serving.server import _with_demo


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/demo", "demo"),
        ("/demo/assets/x.js", "demo"),
        ("/demonstration", "model"),
        ("/invocations", "model"),
    ],
)
def test_the_demo_gets_its_path_alone_and_no_extensions(path: str, target: str) -> None:
    seen: list[tuple[str, Any]] = []

    def application(name: str) -> Any:
        async def answer(scope: Any, receive: Any, send: Any) -> None:
            seen.append((name, scope["extensions"]))

        return answer

    extensions = {"http.response.pathsend": {}}
    scope = {"type": "http", "path": path, "extensions": extensions}
    whole = _with_demo(application("model"), application("demo"))
    asyncio.run(whole(scope, None, None))  # type: ignore[arg-type]
    assert seen == [(target, {} if target == "demo" else extensions)]


def test_a_question_that_is_given_up_does_not_end_the_request() -> None:
    """As Granian does, `receive` reports a disconnect to everybody if one question is cancelled."""

    async def ask() -> list[str]:
        gone, messages = asyncio.Event(), iter([{"type": "http.request"}])

        async def receive() -> Any:
            if (message := next(messages, None)) is not None:
                return message
            try:
                await gone.wait()
            except asyncio.CancelledError:
                gone.set()
                raise
            return {"type": "http.disconnect"}

        receiving = Receiving(receive)
        kinds = [(await receiving())["type"]]
        waiting = asyncio.create_task(receiving())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(receiving(), 0.01)
        kinds.append("waits" if not waiting.done() else (await waiting)["type"])
        gone.set()
        kinds += [(await waiting)["type"], (await receiving())["type"]]
        receiving.close()
        return kinds

    assert asyncio.run(ask()) == ["http.request", "waits", "http.disconnect", "http.disconnect"]
