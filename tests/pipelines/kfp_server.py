"""A small server that speaks Kubeflow Pipelines' v2beta1 and really runs what it is sent, here, by `kfp.local`.

It stands in for a cluster so that an unmodified `kfp.Client` can submit and poll. It keeps no database, and
knows neither Argo nor the driver, caching, quotas or RBAC; messages of errors are shaped like the server's.
"""

import json
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

PREFIX = "/apis/v2beta1"
COLOURS = re.compile(r"\x1b\[\d+m")
STARTED = re.compile(r"Executing task '([^']+)'")
ENDED = re.compile(r"Task '([^']+)' finished with status (SUCCESS|FAILURE)")
RUN_HERE = """
import json, sys
from kfp import components, local
package, parameters, root = sys.argv[1:]
local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=root)
components.load_component_from_file(package)(**json.loads(parameters))
"""


class Refused(Exception):  # noqa: N818
    """An answer that is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Fault:
    """What happens to the next request of a method and path: a status, a broken connection, a lost answer."""

    method: str
    path: str
    kind: int | str


@dataclass
class Server:
    """The state of the server in the shapes of the API; `requests` records every request for the tests."""

    root: Path
    token: str | None = None
    namespaces: tuple[str, ...] = ()
    experiments: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    pipelines: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)
    schedules: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    page_size: int = 100
    host: str = ""
    running: dict[threading.Thread, subprocess.Popen[str]] = field(default_factory=dict)

    def fault(self, method: str, path: str) -> Fault | None:
        """Take the fault that was set for this request, if any."""
        for fault in self.faults:
            if (fault.method, PREFIX + fault.path) == (method, path):
                self.faults.remove(fault)
                return fault
        return None

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        """Give the answer to one request."""
        match method, [part for part in path.removeprefix(PREFIX).split("/") if part]:
            case "GET", ["healthz"]:
                return {"multi_user": bool(self.namespaces)}
            case "GET", ["experiments"]:
                return self._listed("experiments", self.experiments, query)
            case "POST", ["experiments"]:
                return self._add_experiment(body)
            case "GET", ["runs"]:
                return self._listed("runs", self.runs, query)
            case "POST", ["runs"]:
                return self._start(body)
            case "GET", ["runs", run_id]:
                return _entry(self.runs, run_id, "run")
            case "GET", ["pipelines"]:
                return self._listed("pipelines", self.pipelines, query)
            case "POST", ["pipelines", "upload"]:
                return self._add_pipeline(query, body)
            case "POST", ["pipelines", "upload_version"]:
                return self._add_version(query["pipelineid"], query["name"], body)
            case "GET", ["pipelines", pipeline_id, "versions"]:
                mine = {k: v for k, v in self.versions.items() if v["pipeline_id"] == pipeline_id}
                return self._listed("pipeline_versions", mine, query)
            case "GET", ["recurringruns"]:
                return self._listed("recurringRuns", self.schedules, query)
            case "POST", ["recurringruns"]:
                return self._add_schedule(body)
            case "POST", ["recurringruns", call] if ":" in call:
                schedule_id, verb = call.split(":")
                status = {"enable": "ENABLED", "disable": "DISABLED"}[verb]
                _entry(self.schedules, schedule_id, "recurring run")["status"] = status
                return {}
            case "GET", ["recurringruns", schedule_id]:
                return _entry(self.schedules, schedule_id, "recurring run")
            case "DELETE", ["recurringruns", schedule_id]:
                del self.schedules[schedule_id]
                return {}
        raise Refused(404, f"no such endpoint: {method} {path}")

    def fire(self, schedule_id: str) -> str:
        """Start the run of a schedule as its time coming would, and give the run's id."""
        schedule = self.schedules[schedule_id]
        kept = ("experiment_id", "pipeline_spec", "runtime_config")
        return self._start({**{name: schedule[name] for name in kept}, "display_name": "fired"})["run_id"]

    def _listed(self, key: str, all_: dict[str, dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
        self._check_namespace(query.get("namespace"), where=key)
        entries = list(all_.values())
        for predicate in json.loads(query.get("filter") or "{}").get("predicates", []):
            assert predicate["operation"] in ("EQUALS", 1)
            entries = [one for one in entries if one[predicate["key"]] == predicate["stringValue"]]
        if "experiment_id" in query:
            entries = [one for one in entries if one["experiment_id"] == query["experiment_id"]]
        first = int(query.get("page_token") or 0)
        page = entries[first : first + self.page_size]
        more = first + self.page_size < len(entries)
        return {key: page, "next_page_token": str(first + self.page_size) if more else ""}

    def _check_namespace(self, namespace: str | None, *, where: str) -> None:
        if self.namespaces and where in ("experiments", "recurringRuns") and namespace not in self.namespaces:
            raise Refused(403, f"User is not authorized with reason: no access to namespace {namespace}")

    def _add_experiment(self, body: dict[str, Any]) -> dict[str, Any]:
        self._check_namespace(body.get("namespace"), where="experiments")
        if any(one["display_name"] == body["display_name"] for one in self.experiments.values()):
            raise Refused(
                409, f"Failed to create a new experiment. The name {body['display_name']} already exists"
            )
        new = {**body, "experiment_id": str(uuid.uuid4()), "storage_state": "AVAILABLE"}
        self.experiments[new["experiment_id"]] = new
        return new

    def _add_pipeline(self, query: dict[str, str], body: str) -> dict[str, Any]:
        new = {"pipeline_id": str(uuid.uuid4()), "display_name": query["name"]}
        self.pipelines[new["pipeline_id"]] = new
        self._add_version(new["pipeline_id"], query["name"], body)
        return new

    def _add_version(self, pipeline_id: str, name: str, body: str) -> dict[str, Any]:
        documents = list(yaml.safe_load_all(body))
        json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
        new = {
            "pipeline_id": pipeline_id,
            "pipeline_version_id": str(uuid.uuid4()),
            "display_name": name,
            "pipeline_spec": documents[0],
        }
        # The newest first, as tests ask for.
        self.versions = {new["pipeline_version_id"]: new, **self.versions}
        return new

    def _add_schedule(self, body: dict[str, Any]) -> dict[str, Any]:
        _documents(body["pipeline_spec"])
        if len(body["trigger"]["cron_schedule"]["cron"].split()) != 6:
            raise Refused(400, "The Cron expression must have 6 fields")
        enabled = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[body.pop("mode")]
        new = {**body, "recurring_run_id": str(uuid.uuid4()), "status": enabled}
        self.schedules[new["recurring_run_id"]] = new
        return new

    def _start(self, body: dict[str, Any]) -> dict[str, Any]:
        experiment = _entry(self.experiments, body["experiment_id"], "experiment")
        if experiment["storage_state"] == "ARCHIVED":
            raise Refused(400, "Failed to create a run: the experiment is archived")
        documents = _documents(body["pipeline_spec"])
        run_id = str(uuid.uuid4())
        folder = self.root / run_id
        folder.mkdir(parents=True)
        (folder / "pipeline.yaml").write_text(yaml.safe_dump_all(documents))
        run = {
            **{name: body[name] for name in ("experiment_id", "display_name", "runtime_config")},
            "run_id": run_id,
            "state": "PENDING",
            "run_details": {"task_details": []},
        }
        self.runs[run_id] = run
        answer = dict(run)
        self._launch(run, folder)
        return answer

    def stop(self) -> None:
        """End the runs that are still going."""
        for thread, process in self.running.items():
            process.kill()
            thread.join()

    def _launch(self, run: dict[str, Any], folder: Path) -> None:
        """Run the YAML in a process of its own."""
        parameters = json.dumps(run["runtime_config"].get("parameters", {}))
        process = subprocess.Popen(
            [sys.executable, "-c", RUN_HERE, folder / "pipeline.yaml", parameters, folder / "root"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        thread = threading.Thread(target=self._watch, args=(run, process, folder))
        self.running[thread] = process
        thread.start()

    def _watch(self, run: dict[str, Any], process: subprocess.Popen[str], folder: Path) -> None:
        """Tell from the log of a run how its steps stand, until it ends."""
        run["state"] = "RUNNING"
        tasks: dict[str, dict[str, Any]] = {}
        lines = []
        assert process.stdout is not None
        with process:
            for line in process.stdout:
                lines.append(plain := COLOURS.sub("", line))
                if started := STARTED.search(plain):
                    tasks[started[1]] = {
                        "task_id": started[1],
                        "display_name": started[1],
                        "state": "RUNNING",
                    }
                if ended := ENDED.search(plain):
                    tasks[ended[1]]["state"] = "SUCCEEDED" if ended[2] == "SUCCESS" else "FAILED"
                run["run_details"] = {"task_details": [dict(task) for task in tasks.values()]}
        failed = process.returncode != 0
        (folder / "log").write_text("".join(lines))
        if failed:
            run["error"] = {"code": 2, "message": lines[-1].strip() if lines else "no log"}
        run["state"] = "FAILED" if failed else "SUCCEEDED"


def _documents(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Give pipeline and platform specification of a body, each checked against its protocol buffer."""
    nested = "pipeline_spec" in spec
    documents = [spec["pipeline_spec"], spec["platform_spec"]] if nested else [spec]
    for document, kind in zip(
        documents, (pipeline_spec_pb2.PipelineSpec, pipeline_spec_pb2.PlatformSpec), strict=False
    ):
        try:
            json_format.ParseDict(document, kind())
        except json_format.ParseError as error:
            raise Refused(400, f"Failed to parse the pipeline: {error}") from error
    return documents


def _entry(known: dict[str, dict[str, Any]], id_: str, what: str) -> dict[str, Any]:
    if id_ not in known:
        raise Refused(404, f"ResourceNotFoundError: {what} {id_} not found")
    return known[id_]


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def do_DELETE(self) -> None:
            self._serve()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing: requests are kept in `server.requests`."""

        def _serve(self) -> None:
            address = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = self._body(content)
            server.requests.append((self.command, address.path, body))
            fault = server.fault(self.command, address.path)
            if fault and fault.kind == "reset":
                self.close_connection = True
                return
            try:
                if fault and isinstance(fault.kind, int):
                    raise Refused(fault.kind, "planted")
                if server.token and self.headers.get("Authorization") != f"Bearer {server.token}":
                    raise Refused(401, "Request header error: there is no user identity header")
                answer, status = server.answer(self.command, address.path, query, body), 200
            except Refused as refused:
                answer, status = {"code": 2, "error": str(refused), "message": str(refused)}, refused.status
            if fault and fault.kind == "lost":
                self.close_connection = True
                return
            sent = (
                fault.kind.encode() if fault and isinstance(fault.kind, str) else json.dumps(answer).encode()
            )
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def _body(self, content: bytes) -> Any:
            kind = self.headers.get("Content-Type", "")
            if kind.startswith("multipart/form-data"):
                parts = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + content)
                (file,) = parts.get_payload()  # type: ignore[misc]
                return file.get_payload(decode=True).decode()  # type: ignore[union-attr]
            return json.loads(content) if content else None

    return Handler


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Serve on a free port of this machine until the block ends."""
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    listener.daemon_threads = True
    server.host = f"http://127.0.0.1:{listener.server_port}"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        thread.join()
        server.stop()
        listener.server_close()
