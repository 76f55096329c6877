"""The part of a Kubernetes server that TrainJobs need: create, get and delete by the CustomObjects endpoints.

It stands in for a cluster so that Kubernetes' own client can be used as it is. A job runs `work(manifest)` in a
thread, and has completed or failed as that ends; nothing is known of pods, quotas, webhooks or RBAC.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.http_listener import listening

PATH = re.compile(
    r"/apis/trainer\.kubeflow\.org/v1alpha1/namespaces/([a-z-]+)/trainjobs(?:/([a-z0-9-]+))?(?:\?.*)?"
)
Answer = tuple[int, dict[str, Any]]


@dataclass
class Trainer:
    """The jobs there are; fields of a specification that are `unknown` are dropped; `faults` are statuses with which the next requests of a method are answered."""

    work: Callable[[dict[str, Any]], None] = lambda manifest: None
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[tuple[str, int | str]] = field(default_factory=list)
    message: str = "planted"
    unknown: tuple[str, ...] = ()
    requests: list[str] = field(default_factory=list)
    propagations: list[str] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def answer(self, method: str, name: str | None, body: Any, query: Mapping[str, str]) -> Answer:
        """Give status and content of the answer to one request."""
        selector = query.get("labelSelector", "")
        match method:
            case "POST" if query.get("dryRun") == "All":
                return 201, {**body, "spec": self._kept(body)}
            case "POST":
                name = body["metadata"]["name"]
                if name in self.jobs:
                    return 409, {"message": f'trainjobs.trainer.kubeflow.org "{name}" already exists'}
                self.jobs[name] = {
                    **body,
                    "spec": self._kept(body),
                    "status": {"jobsStatus": [{"name": "node", "active": 1, "ready": 1}]},
                }
                self.threads.append(threading.Thread(target=self._run, args=(self.jobs[name],)))
                self.threads[-1].start()
                return 201, self.jobs[name]
            case "GET" if name is None:
                return 200, {"items": self._labelled(selector)}
            case "DELETE" if name is None:
                for job in self._labelled(selector):
                    del self.jobs[job["metadata"]["name"]]
                return 200, {}
            case _ if name not in self.jobs:
                return 404, {"message": f'trainjobs.trainer.kubeflow.org "{name}" not path'}
            case "DELETE":
                return 200, self.jobs.pop(str(name))
        return 200, self.jobs[str(name)]

    def _kept(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in body["spec"].items() if key not in self.unknown}

    def _labelled(self, selector: str) -> list[dict[str, Any]]:
        key, _, value = selector.partition("=")
        return [job for job in self.jobs.values() if job["metadata"].get("labels", {}).get(key) == value]

    def _run(self, job: dict[str, Any]) -> None:
        try:
            self.work(job)
        except Exception as error:
            self.ended(job, "Failed", str(error))
        else:
            self.ended(job, "Complete", "all is done")

    def ended(self, job: dict[str, Any], kind: str, message: str) -> None:
        """Note how a job ended, as Trainer does."""
        condition = {"type": kind, "status": "True", "reason": "JobsEnded", "message": message}
        job["status"] = {"conditions": [{"type": "Suspended", "status": "False"}, condition]}


@contextmanager
def serving(trainer: Trainer, folder: Path) -> Iterator[Path]:
    """Serve on a free port of this machine until the block ends; give the kubeconfig that leads there."""
    try:
        with listening(_handler(trainer)) as port:
            yield kubeconfig(folder, port)
    finally:
        for one in trainer.threads:
            one.join()


def kubeconfig(folder: Path, port: int) -> Path:
    file = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "me", "user": {"token": "s3cr3t"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "team"}}],
    }
    file.write_text(yaml.safe_dump(content))
    return file


def _handler(trainer: Trainer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def do_DELETE(self) -> None:
            self._serve()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing: requests are kept in `trainer.requests`."""

        def _serve(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = PATH.fullmatch(self.path)
            assert path is not None, self.path
            trainer.requests.append(self.command)
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            if self.command == "DELETE":
                trainer.propagations.append(query.get("propagationPolicy", ""))
            fault = next((one for one in trainer.faults if one[0] == self.command), None)
            if fault is not None:
                trainer.faults.remove(fault)
            if fault is not None and isinstance(fault[1], int):
                status, answer = fault[1], {"message": trainer.message}
            else:
                status, answer = trainer.answer(
                    self.command,
                    path[2],
                    json.loads(content) if content else None,
                    query,
                )
            if fault is not None and fault[1] == "lost":
                self.close_connection = True
                return
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
