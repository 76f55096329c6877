"""A server that answers as Kubernetes' API does for a few objects, so that its own client can be used as it is."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.components.trainer_server import kubeconfig
from tests.http_listener import listening

CORE, APPS = "/api/v1", "/apis/apps/v1"


def listed(*items: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a request for a list."""
    return {"kind": "List", "items": list(items)}


@contextmanager
def serving(objects: Mapping[str, Any], folder: Path) -> Iterator[Path]:
    """Serve objects by path until the block ends; yield the kubeconfig that leads there.

    A path without an object is answered by 403, as for an account without rights. Lists are filtered by one label.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
            answer = objects.get(path)
            if answer is not None and "labelSelector" in query:
                key, _, value = query["labelSelector"][0].partition("=")
                kept = [one for one in answer["items"] if one["metadata"]["labels"].get(key) == value]
                answer = {**answer, "items": kept}
            body = json.dumps(
                answer or {"kind": "Status", "message": f"cannot get {path}", "code": 403}
            ).encode()
            self.send_response(200 if answer is not None else 403)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with listening(Handler) as port:
        yield kubeconfig(folder, port)
