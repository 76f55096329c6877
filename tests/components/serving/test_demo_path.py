"""Which requests go to the demo of a served model, and what the demo must not see."""

import asyncio
from typing import Any

import pytest

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
