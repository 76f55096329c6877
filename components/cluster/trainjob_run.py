"""Start, follow and remove TrainJobs on a cluster, through Kubernetes' own client.

Starting is idempotent: a job with the same name and specification is adopted, so a retried step waits for the job
that it started before; a failed job is replaced. Transient errors (a broken connection, 429, 5xx) are retried; any
other error becomes a `UserError` of one sentence.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from cascade_core.errors import UserError
from components.cluster.access import kubernetes
from components.cluster.trainjob import CONTENT, GROUP, PIPELINE_LABEL, PLURAL, VERSION, TrainJob
from components.servers.patience import Patience

if TYPE_CHECKING:
    from kubernetes.client import CustomObjectsApi

log = logging.getLogger(__name__)

State = Literal["waiting", "running", "complete", "failed"]

PATIENT = Patience(300.0)
WEBHOOK = "admission webhook"
"""A webhook refuses with 403 as missing rights do; only the server's sentence says which."""
TRANSIENT_STATUS = (429, 500, 502, 503, 504)
CONNECT_AND_ANSWER_SECONDS = (5, 30)
REPORT_SECONDS = 600.0
"""The state of a running job is logged at least this often."""
PROPAGATION = "Background"
"""With "Foreground", Trainer creates a job's pods anew while the job is being deleted."""
METHODS = {
    "create": "create_namespaced_custom_object",
    "get": "get_namespaced_custom_object",
    "delete": "delete_namespaced_custom_object",
    "list": "list_namespaced_custom_object",
    "delete_collection": "delete_collection_namespaced_custom_object",
}
GONE_SECONDS = 120.0
"""A deleted job may take this long to disappear."""


@dataclass(frozen=True)
class Jobs:
    """The TrainJobs of a namespace.

    `patience` limits the retries of transient errors; `poll` is the pause between two queries, in seconds.
    """

    api: "CustomObjectsApi"
    namespace: str
    patience: Patience = PATIENT
    poll: float = 10.0

    def create(self, manifest: Mapping[str, Any]) -> bool:
        """Create a job; return False if one of this name exists.

        Raises:
            UserError: the cluster refuses, or dropped a field of the job, which is removed then.
        """
        name = manifest["metadata"]["name"]
        answer = self._ask("create", name, {"body": manifest}, none_on=409)
        if answer is None:
            return False
        try:
            self._check_whole(manifest, answer)
        except UserError:
            self.delete(name)
            raise
        return True

    def rehearse(self, manifest: Mapping[str, Any]) -> None:
        """Let the cluster check a job as if it were created, with webhooks and rights; nothing starts.

        Raises:
            UserError: the cluster refuses, or would drop a field of the job.
        """
        name = manifest["metadata"]["name"]
        answer = self._ask("create", name, {"body": manifest, "dry_run": "All"}, none_on=409)
        if answer is not None:
            self._check_whole(manifest, answer)
        self._ask("list", name, {"label_selector": f"{PIPELINE_LABEL}=none"}, none_on=404)

    def _check_whole(self, sent: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
        if fields := sorted(dropped(sent["spec"], kept.get("spec") or {}, "spec")):
            raise UserError(
                f"Kubernetes, create TrainJob {sent['metadata']['name']} in namespace {self.namespace}: the cluster dropped "
                f"{', '.join(fields)}; install Kubeflow Trainer 2.2 or later"
            )

    def get(self, name: str) -> dict[str, Any] | None:
        """Query a job; None if it does not exist."""
        return self._ask("get", name, {"name": name}, none_on=404)

    def delete(self, name: str) -> None:
        """Request the removal of a job with its pods; a job that does not exist is no error."""
        self._ask("delete", name, {"name": name, "propagation_policy": PROPAGATION}, none_on=404)

    def delete_of_pipeline(self, run_id: str) -> list[str]:
        """Request the removal of all jobs that a pipeline's run started; return their names.

        Raises:
            UserError: the cluster refuses, or does not answer for too long.
        """
        selected = {"label_selector": f"{PIPELINE_LABEL}={run_id}"}
        about = f"of pipeline run {run_id}"
        listed = self._ask("list", about, selected, none_on=404)
        names = [str(job["metadata"]["name"]) for job in (listed or {}).get("items", [])]
        if names:
            options = {**selected, "propagation_policy": PROPAGATION}
            self._ask("delete_collection", about, options, none_on=404)
        return names

    def _ask(self, verb: str, name: str, arguments: Mapping[str, Any], *, none_on: int) -> Any:
        """Send a request, with retries, and return the answer; None if the status is `none_on`."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        request = partial(
            getattr(self.api, METHODS[verb]),
            group=GROUP,
            version=VERSION,
            namespace=self.namespace,
            plural=PLURAL,
            _request_timeout=CONNECT_AND_ANSWER_SECONDS,
            **arguments,
        )
        try:
            return self.patience.ask(
                request,
                passes=lambda error: (
                    isinstance(error, HTTPError) or getattr(error, "status", None) in TRANSIENT_STATUS
                ),
                on_fault=lambda error: log.warning("Kubernetes: %s; retrying", _reason(error)),
            )
        except (ApiException, HTTPError) as error:
            if getattr(error, "status", None) == none_on:
                return None
            raise _explain(error, verb, name, self.namespace) from error


def connect(namespace: str | None = None) -> Jobs:
    """Connect to the TrainJobs of a namespace, by default that of the pod or of the kubeconfig's context.

    Raises:
        UserError: as for `components.cluster.access.kubernetes`.
    """
    from kubernetes.client import CustomObjectsApi

    access = kubernetes()
    return Jobs(CustomObjectsApi(access.api), namespace or access.namespace)


def start(jobs: Jobs, job: TrainJob) -> None:
    """Start a job, adopt an equal one that waits, runs or has completed, or replace an equal one that failed.

    Raises:
        UserError: a job of this name has another specification, or the cluster refuses.
    """
    manifest = job.manifest()
    if jobs.create(manifest):
        log.info("TrainJob %s/%s: started on %d nodes", jobs.namespace, job.name, job.nodes)
        return
    existing = jobs.get(job.name) or {}
    ours = manifest["metadata"]["annotations"][CONTENT]
    if existing.get("metadata", {}).get("annotations", {}).get(CONTENT) != ours:
        raise UserError(
            f"TrainJob {job.name} exists in namespace {jobs.namespace} and is of another training; delete it, or "
            "give another name"
        )
    if state(existing)[0] != "failed":
        log.info("TrainJob %s/%s: exists already, and is adopted", jobs.namespace, job.name)
        return
    remove(jobs, job.name)
    jobs.create(manifest)
    log.info("TrainJob %s/%s: had failed, and is replaced", jobs.namespace, job.name)


def follow(
    jobs: Jobs,
    name: str,
    *,
    minutes: float,
    watch: Callable[[], None] = lambda: None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until a job has completed, and log each change of its state; call `watch` before each query of a job.

    What `watch` raises ends the wait. The job is removed in no case.

    Raises:
        RuntimeError: the job failed (with its own message), disappeared, or did not end within `minutes`.
        UserError: the cluster refuses, or does not answer for too long.
    """
    began = clock()
    logged, when = "", began
    while True:
        watch()
        job = jobs.get(name)
        if job is None:
            raise RuntimeError(
                f"TrainJob {name} is gone from namespace {jobs.namespace}: somebody deleted it"
            )
        now, detail = state(job)
        if now == "complete":
            log.info("TrainJob %s: complete after %.0f min", name, (clock() - began) / 60)
            return
        if now == "failed":
            raise RuntimeError(f"TrainJob {name} failed: {detail}")
        line = f"{now}, {detail}" if detail else now
        if line != logged or clock() - when > REPORT_SECONDS:
            log.info("TrainJob %s: %s (%.0f min)", name, line, (clock() - began) / 60)
            logged, when = line, clock()
        if clock() - began > 60 * minutes:
            raise RuntimeError(
                f"TrainJob {name} did not end within {minutes:g} minutes ({line}); the job is not removed"
            )
        sleep(jobs.poll)


def remove(jobs: Jobs, name: str, *, seconds: float = GONE_SECONDS) -> None:
    """Delete a job with its pods, and wait until its name is free.

    Raises:
        UserError: the job still exists after `seconds`.
    """
    jobs.delete(name)
    began = time.monotonic()
    while jobs.get(name) is not None:
        if time.monotonic() - began > seconds:
            raise UserError(
                f"TrainJob {name} was deleted but still exists after {seconds:g} s; see what blocks it: kubectl describe "
                f"trainjob {name} --namespace {jobs.namespace}"
            )
        time.sleep(min(1.0, jobs.poll))


def state(job: Mapping[str, Any]) -> tuple[State, str]:
    """Return the state of a job as the cluster reports it, with the reason or the number of ready jobs in it."""
    status = job.get("status") or {}
    conditions = {
        item["type"]: item for item in status.get("conditions") or [] if item.get("status") == "True"
    }
    if "Complete" in conditions:
        return "complete", ""
    if failure := conditions.get("Failed"):
        reasons = filter(None, (failure.get("reason"), failure.get("message")))
        return "failed", ": ".join(reasons) or "no reason was given"
    if "Suspended" in conditions:
        return "waiting", "suspended"
    jobs = status.get("jobsStatus") or []
    ready = sum(job.get("ready", 0) for job in jobs)
    if any(job.get("active", 0) for job in jobs):
        return ("running", f"{ready} jobs ready") if ready else ("waiting", "not all pods are ready")
    return "waiting", ""


def dropped(sent: Any, kept: Any, place: str) -> Iterator[str]:
    """Yield the places of what was sent and is missing in the created object: servers drop fields that they do not know.

    The server may add fields, and may write a quantity in another way.
    """
    if isinstance(sent, Mapping):
        for name, value in sent.items():
            if not isinstance(kept, Mapping) or name not in kept:
                yield f"{place}.{name}"
            else:
                yield from dropped(value, kept[name], f"{place}.{name}")
    elif isinstance(sent, list):
        if not isinstance(kept, list) or len(kept) < len(sent):
            yield place
        else:
            for number, value in enumerate(sent):
                yield from dropped(value, kept[number], f"{place}[{number}]")


def _explain(error: BaseException, verb: str, name: str, namespace: str) -> UserError:
    """Explain a refusal in one sentence, by its HTTP status."""
    status = getattr(error, "status", None)
    said = _reason(error)
    rights = f"this account may not {verb} trainjobs there; bind the Role of docs/distributed.md to it"
    reason = {
        401: "the token is missing, wrong or expired",
        403: said if WEBHOOK in said else rights,
        404: "Kubeflow Trainer 2 is not installed there, or there is no such namespace",
    }.get(status or 0, said)
    code = f" ({status})" if status else ""
    return UserError(f"Kubernetes, {verb} TrainJob {name} in namespace {namespace}: {reason}{code}")


def _reason(error: BaseException) -> str:
    """Return the message in the answer's body, or the error's own first line."""
    try:
        return str(json.loads(getattr(error, "body", "") or "")["message"])
    except (ValueError, KeyError, TypeError):
        return str(getattr(error, "reason", None) or error).partition("\n")[0] or type(error).__name__
