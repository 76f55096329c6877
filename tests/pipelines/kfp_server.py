"""A small server that speaks Kubeflow Pipelines' v2beta1 and really runs what it is sent, here, by `kfp.local`.

It stands in for a cluster so that an unmodified `kfp.Client` can submit and poll. It keeps no database, and
knows neither the driver, caching, quotas nor RBAC. Its answers have the shape of those that a real server gave
(`kubeflow/recordings/`; `kubeflow/test_recordings.py` compares them).
"""

import json
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.http_listener import listening
from tests.pipelines.kfp_nodes import Workflow, ran_steps, time_text

PREFIX = "/apis/v2beta1"
LOG = re.compile(r"/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log$")
RUN_HERE = Path(__file__).with_name("kfp_local_run.py")
CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6}
"""gRPC's code for each HTTP status."""
FINAL = ("SUCCEEDED", "FAILED")


class Refused(Exception):  # noqa: N818
    """An answer that is an error; `cause` is the inner message, which the details repeat."""

    def __init__(self, status: int, message: str, cause: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.cause = cause or message

    def body(self) -> dict[str, Any]:
        code = CODES.get(self.status, 2)
        kind = "type.googleapis.com/google.rpc.Status"
        details = [{"@type": kind, "code": code, "message": self.cause}]
        return {"code": code, "message": str(self), "details": details}


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
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    watchers: list[threading.Thread] = field(default_factory=list)

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
                multi_user = bool(self.namespaces)
                tags = {"commit_sha": "unknown", "tag_name": "unknown", "pipeline_store": "database"}
                return {**tags, "multi_user": multi_user}
            case "GET", ["experiments"]:
                return self._listed("experiments", self.experiments, query)
            case "POST", ["experiments"]:
                return self._add_experiment(body)
            case "GET", ["runs"]:
                return self._listed("runs", self.runs, query)
            case "POST", ["runs"]:
                return self._start(body)
            case "GET", ["runs", run_id]:
                return self._run(run_id)
            case "POST", ["runs", call] if ":" in call:
                run_id, verb = call.split(":")
                return {"terminate": self._terminate, "retry": self._retry}[verb](run_id)
            case "DELETE", ["runs", run_id]:
                _entry(self.runs, run_id, "Run", "delete a run")
                del self.runs[run_id]
                return {}
            case "GET", ["pipelines"]:
                return self._listed("pipelines", self.pipelines, query)
            case "POST", ["pipelines"]:
                return self._add_pipeline(body["display_name"], body.get("description", ""))
            case "DELETE", ["pipelines", pipeline_id]:
                _entry(self.pipelines, pipeline_id, "Pipeline", "delete a pipeline")
                del self.pipelines[pipeline_id]
                return {}
            case "DELETE", ["pipelines", _, "versions", version_id]:
                _entry(self.versions, version_id, "PipelineVersion", "delete a pipeline version")
                del self.versions[version_id]
                return {}
            case "GET", ["pipelines", _, "versions", version_id]:
                return _entry(self.versions, version_id, "PipelineVersion", "get a pipeline version")
            case "POST", ["pipelines", "upload"]:
                # A real server names the first version after the pipeline, whatever the client wants.
                pipeline = self._add_pipeline(query["name"])
                self._add_version(pipeline["pipeline_id"], query["name"], body)
                return pipeline
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
                schedule = _entry(self.schedules, schedule_id, "Job", f"{verb} a recurring run")
                schedule |= {"status": status, "mode": verb.upper()}
                return {}
            case "GET", ["recurringruns", schedule_id]:
                return _entry(self.schedules, schedule_id, "Job", "get a recurring run")
            case "DELETE", ["recurringruns", schedule_id]:
                _entry(
                    self.schedules, schedule_id, "Job", "delete a recurring run",
                    f"Failed to delete recurring run {schedule_id}. Check if exists",
                )  # fmt: skip
                del self.schedules[schedule_id]
                return {}
        raise Refused(404, f"no such endpoint: {method} {path}")

    def fire(self, schedule_id: str) -> str:
        """Start the run of a schedule as its time coming would, and give the run's id."""
        schedule = self.schedules[schedule_id]
        names = ("experiment_id", "pipeline_spec", "pipeline_version_reference", "runtime_config")
        kept = {name: schedule[name] for name in names if name in schedule}
        return str(self._start({**kept, "display_name": "fired"})["run_id"])

    def log(self, run_id: str, node: str) -> str:
        """Return the log of a pod of a run."""
        run = self.runs.get(run_id, {})
        place = run.get("pods", {}).get(node)
        file = self.root / run_id / "logs" / ".".join(place or ())
        if place is None or not file.is_file():
            raise Refused(404, f"Failed to read the log of node {node}")
        return file.read_text()

    def _listed(self, key: str, all_: dict[str, dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
        self._check_namespace(query.get("namespace"), where=key)
        entries = list(all_.values())
        for predicate in json.loads(query.get("filter") or "{}").get("predicates", []):
            assert predicate["operation"] in ("EQUALS", 1)
            entries = [one for one in entries if one[predicate["key"]] == predicate["stringValue"]]
        if "experiment_id" in query:
            entries = [one for one in entries if one["experiment_id"] == query["experiment_id"]]
        if "desc" in query.get("sort_by", ""):
            entries.reverse()
        first = int(query.get("page_token") or 0)
        page = entries[first : first + self.page_size]
        answer: dict[str, Any] = {"total_size": len(entries)}
        if page:
            answer[key] = [_public(one) for one in page]
        if first + self.page_size < len(entries):
            answer["next_page_token"] = str(first + self.page_size)
        return answer

    def _check_namespace(self, namespace: str | None, *, where: str) -> None:
        if self.namespaces and where in ("experiments", "recurringRuns") and namespace not in self.namespaces:
            raise Refused(403, f"User is not authorized with reason: no access to namespace {namespace}")

    def _add_experiment(self, body: dict[str, Any]) -> dict[str, Any]:
        self._check_namespace(body.get("namespace"), where="experiments")
        name = body["display_name"]
        if any(one["display_name"] == name for one in self.experiments.values()):
            cause = f"Failed to create a new experiment. The name {name} already exists. Please specify a new name"
            raise Refused(409, f"Failed to create a experiment: Already exist error: {cause}", cause)
        new = {
            **{key: value for key, value in body.items() if value},
            "experiment_id": str(uuid.uuid4()),
            "created_at": _now(),
            "storage_state": "AVAILABLE",
            "last_run_created_at": "1970-01-01T00:00:00Z",
        }
        self.experiments[new["experiment_id"]] = new
        return new

    def _add_pipeline(self, name: str, description: str = "") -> dict[str, Any]:
        if any(one["display_name"] == name for one in self.pipelines.values()):
            cause = (
                f"Failed to create a new pipeline. The name {name} already exists. Please specify a new name"
            )
            raise Refused(409, f"Failed to create a pipeline: Already exist error: {cause}", cause)
        new = {"pipeline_id": str(uuid.uuid4()), "display_name": name, "name": name, "created_at": _now()}
        new |= {"description": description} if description else {}
        self.pipelines[new["pipeline_id"]] = new
        return new

    def _add_version(self, pipeline_id: str, name: str, body: str) -> dict[str, Any]:
        documents = list(yaml.safe_load_all(body))
        spec = dict(zip(("pipeline_spec", "platform_spec"), documents, strict=False))
        _documents(spec if len(documents) > 1 else documents[0])
        new = {
            "pipeline_id": pipeline_id,
            "pipeline_version_id": str(uuid.uuid4()),
            "display_name": name,
            "name": name,
            "created_at": _now(),
            "pipeline_spec": spec if len(documents) > 1 else documents[0],
        }
        self.versions[new["pipeline_version_id"]] = new
        return new

    def _add_schedule(self, body: dict[str, Any]) -> dict[str, Any]:
        self._source(body)
        cron = body["trigger"]["cron_schedule"]["cron"]
        if len(cron.split()) != 6:
            cause = f"Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron). Error: {cron}"
            start = "Failed to create a recurring run due to conversion error: Invalid input error: "
            raise Refused(400, start + cause, cause)
        new = {
            **body,
            "max_concurrency": str(body.get("max_concurrency", 1)),
            "recurring_run_id": str(uuid.uuid4()),
            "status": {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[body["mode"]],
            "created_at": _now(),
            "updated_at": _now(),
            "service_account": "pipeline-runner",
            "namespace": "kubeflow",
        }
        self.schedules[new["recurring_run_id"]] = new
        return new

    def _source(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the compiled pipeline of a body: in it, or of the version that it names."""
        if "pipeline_version_reference" in body:
            version_id = body["pipeline_version_reference"]["pipeline_version_id"]
            version = _entry(self.versions, version_id, "PipelineVersion", "fetch a pipeline version")
            return dict(version["pipeline_spec"])
        _documents(body["pipeline_spec"])
        return dict(body["pipeline_spec"])

    def _start(self, body: dict[str, Any]) -> dict[str, Any]:
        experiment = _entry(self.experiments, body["experiment_id"], "Experiment", "get an experiment")
        if experiment["storage_state"] == "ARCHIVED":
            raise Refused(400, "Failed to create a run: the experiment is archived")
        documents = _documents(self._source(body))
        run_id = str(uuid.uuid4())
        folder = self.root / run_id
        folder.mkdir(parents=True)
        (folder / "pipeline.yaml").write_text(yaml.safe_dump_all(documents))
        kept = (
            "experiment_id",
            "display_name",
            "description",
            "runtime_config",
            "pipeline_spec",
            "pipeline_version_reference",
        )
        run = {
            **{name: body[name] for name in kept if name in body},
            "run_id": run_id,
            "storage_state": "AVAILABLE",
            "service_account": "pipeline-runner",
            "created_at": _now(),
            "scheduled_at": _now(),
            "finished_at": "1970-01-01T00:00:00Z",
            "state": "PENDING",
            "state_history": [],
            "workflow": f"{documents[0]['pipelineInfo']['name']}-{uuid.uuid4().hex[:5]}",
        }
        self.runs[run_id] = run
        answer = _public(run)
        self._launch(run, folder, retry=False)
        return answer

    def _run(self, run_id: str) -> dict[str, Any]:
        """Return a run with its nodes; a run that a test put there is returned as it is."""
        run = _entry(self.runs, run_id, "Run", "get a run", f"Failed to fetch run {run_id}")
        events = self.root / run_id / "events"
        if "workflow" in run and events.exists():
            lines = [line for line in events.read_text().splitlines() if line.endswith("}")]
            workflow = Workflow(run["workflow"]).add(ran_steps(map(json.loads, lines)))
            run["pods"] = workflow.pods
            run["run_details"] = {"task_details": workflow.task_details()}
        return _public(run)

    def _terminate(self, run_id: str) -> dict[str, Any]:
        run = _entry(self.runs, run_id, "Run", "terminate a run")
        if run["state"] in FINAL:
            cause = f"Failed to terminate a run {run_id}. Row not found"
            start = f"Failed to terminate a run: Failed to terminate run {run_id}: Invalid input error: "
            raise Refused(400, start + cause, cause)
        _enter(run, "CANCELING")
        if process := self.running.get(run_id):
            process.terminate()
        return {}

    def _retry(self, run_id: str) -> dict[str, Any]:
        run = _entry(self.runs, run_id, "Run", "retry a run")
        if run["state"] != "FAILED":
            raise Refused(400, f"Failed to retry a run: run {run_id} is not failed")
        self._launch(run, self.root / run_id, retry=True)
        return {}

    def stop(self) -> None:
        """End the runs that are still going."""
        for process in self.running.values():
            process.kill()
        for watcher in self.watchers:
            watcher.join()

    def _launch(self, run: dict[str, Any], folder: Path, *, retry: bool) -> None:
        """Run the YAML in a process of its own."""
        parameters = (run.get("runtime_config") or {}).get("parameters", {})
        job = {"folder": str(folder), "parameters": parameters, "retry": retry}
        (folder / "job.json").write_text(json.dumps(job))
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, RUN_HERE, folder / "job.json"], stdout=log, stderr=subprocess.STDOUT
            )
        self.running[run["run_id"]] = process
        _enter(run, "RUNNING")
        watcher = threading.Thread(target=self._watch, args=(run, process))
        self.watchers.append(watcher)
        watcher.start()

    def _watch(self, run: dict[str, Any], process: subprocess.Popen[bytes]) -> None:
        """Set the final state of a run: one that was terminated has FAILED."""
        code = process.wait()
        run["finished_at"] = _now()
        _enter(run, "FAILED" if code or run["state"] == "CANCELING" else "SUCCEEDED")


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


def _entry(
    known: dict[str, dict[str, Any]], id_: str, what: str, verb: str, detail: str | None = None
) -> dict[str, Any]:
    if id_ not in known:
        cause = f"{what} {id_} not found"
        parts = [f"Failed to {verb}", *([detail] if detail else []), "ResourceNotFoundError", cause]
        raise Refused(404, ": ".join(parts), cause)
    return known[id_]


def _enter(run: dict[str, Any], state: str) -> None:
    run["state"] = state
    run.setdefault("state_history", []).append({"update_time": _now(), "state": state})


def _public(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry without what the server keeps for itself."""
    return {name: value for name, value in entry.items() if name not in ("workflow", "pods")}


def _now() -> str:
    return time_text(time.time())


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
                answer: dict[str, Any] | str
                if log := LOG.match(address.path):
                    answer, status = server.log(log[1], log[2]), 200
                else:
                    answer, status = server.answer(self.command, address.path, query, body), 200
            except Refused as refused:
                answer, status = refused.body(), refused.status
            if fault and fault.kind == "lost":
                self.close_connection = True
                return
            text = answer if isinstance(answer, str) else json.dumps(answer)
            sent = fault.kind.encode() if fault and isinstance(fault.kind, str) else text.encode()
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
    try:
        with listening(_handler(server)) as port:
            server.host = f"http://127.0.0.1:{port}"
            yield server
    finally:
        server.stop()
