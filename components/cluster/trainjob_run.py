"""TrainJobs on a cluster, through Kubernetes' own client: started once, followed to their end, removed.

Starting is idempotent: a job of the same name and specification is adopted, so that a step that is tried again
waits for what it started before; one that has failed is started anew. What passes (a connection that breaks,
429, 5xx) is borne; what does not becomes a `ValueError` of one sentence.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cascade_core.errors import UserError
from components.cluster.trainjob import CONTENT, GROUP, PLURAL, VERSION, TrainJob
from components.patience import Patience

if TYPE_CHECKING:
    from kubernetes.client import CustomObjectsApi

log = logging.getLogger(__name__)

State = Literal["waiting", "running", "complete", "failed"]

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
PATIENT = Patience(300.0)
TRANSIENT_STATUS = (429, 500, 502, 503, 504)
CONNECT_AND_ANSWER_SECONDS = (5, 30)
TELL_SECONDS = 600.0
"""How often it is told that a job goes on."""
GONE_SECONDS = 120.0
"""How long a deleted job may take to go."""


@dataclass(frozen=True)
class Jobs:
    """The TrainJobs of a namespace.

    `patience` is how long transient faults are borne; `poll` is how often, in seconds, a job is looked at.
    """

    api: "CustomObjectsApi"
    namespace: str
    patience: Patience = PATIENT
    poll: float = 10.0

    def create(self, manifest: Mapping[str, Any]) -> bool:
        """Create a job; False where one of its name is there already."""
        made = self._ask("create", manifest["metadata"]["name"], {"body": manifest}, unless=409)
        return made is not None

    def get(self, name: str) -> dict[str, Any] | None:
        """Give a job as the cluster tells it; None where there is none."""
        return self._ask("get", name, {"name": name}, unless=404)

    def delete(self, name: str) -> None:
        """Remove a job with its pods; nothing where there is none."""
        self._ask("delete", name, {"name": name, "propagation_policy": "Foreground"}, unless=404)

    def _ask(self, verb: str, name: str, arguments: Mapping[str, Any], *, unless: int) -> Any:
        """Give the answer to a request, None where the cluster refuses it with the status `unless`."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        request = partial(
            getattr(self.api, f"{verb}_namespaced_custom_object"),
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
                on_fault=lambda error: log.warning("Kubernetes: %s; trying again", _reason(error)),
            )
        except (ApiException, HTTPError) as error:
            if getattr(error, "status", None) == unless:
                return None
            raise _explained(error, verb, name, self.namespace) from error


def connect(namespace: str | None = None) -> Jobs:
    """Connect as the environment says: by the file `KUBECONFIG` names, a pod's service account, or ~/.kube/config.

    Left out, the namespace is that of the pod, or of the file's context.

    Raises:
        UserError: there is none of these, or the one there is cannot be read.
    """
    from kubernetes import client, config
    from kubernetes.config import ConfigException

    settings = client.Configuration()
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            config.load_incluster_config(client_configuration=settings)
            known = NAMESPACE_FILE.read_text().strip()
        else:
            # Named: the client looks at the variable only when it is imported.
            file = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
            config.load_kube_config(config_file=file, client_configuration=settings)
            known = config.list_kube_config_contexts(file)[1]["context"].get("namespace", "default")
    except (ConfigException, OSError) as error:
        raise UserError(
            f"no access to Kubernetes ({error}); run in a pod with a service account, or name a kubeconfig by KUBECONFIG"
        ) from error
    return Jobs(client.CustomObjectsApi(client.ApiClient(settings)), namespace or known)


def start(jobs: Jobs, job: TrainJob) -> None:
    """Start a job, or adopt the one of its name that waits, runs or has completed; one that failed is started anew.

    Raises:
        UserError: a job of this name does something else, or the cluster refuses.
    """
    manifest = job.manifest()
    if jobs.create(manifest):
        log.info("TrainJob %s/%s: started on %d nodes", jobs.namespace, job.name, job.nodes)
        return
    found = jobs.get(job.name) or {}
    ours = manifest["metadata"]["annotations"][CONTENT]
    if found.get("metadata", {}).get("annotations", {}).get(CONTENT) != ours:
        raise UserError(
            f"TrainJob {job.name} exists in namespace {jobs.namespace} and is of another training; delete it, or "
            "give another name"
        )
    if state(found)[0] != "failed":
        log.info("TrainJob %s/%s: is there already, and adopted", jobs.namespace, job.name)
        return
    remove(jobs, job.name)
    jobs.create(manifest)
    log.info("TrainJob %s/%s: had failed, and is started anew", jobs.namespace, job.name)


def follow(
    jobs: Jobs,
    name: str,
    *,
    minutes: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until a job has completed, telling each change of its state, and now and then that it goes on.

    Raises:
        RuntimeError: it failed (the message is the job's own), is gone, or did not end within `minutes`; it is
            left as it is.
        UserError: the cluster refuses, or is away for too long.
    """
    began = clock()
    told, when = "", began
    while True:
        found = jobs.get(name)
        if found is None:
            raise RuntimeError(
                f"TrainJob {name} is gone from namespace {jobs.namespace}: somebody deleted it"
            )
        now, detail = state(found)
        if now == "complete":
            log.info("TrainJob %s: complete after %.0f min", name, (clock() - began) / 60)
            return
        if now == "failed":
            raise RuntimeError(
                f"TrainJob {name} failed: {detail}; its pods' logs say more: kubectl logs --namespace "
                f"{jobs.namespace} --selector jobset.sigs.k8s.io/jobset-name={name}"
            )
        line = f"{now}, {detail}" if detail else now
        if line != told or clock() - when > TELL_SECONDS:
            log.info("TrainJob %s: %s (%.0f min)", name, line, (clock() - began) / 60)
            told, when = line, clock()
        if clock() - began > 60 * minutes:
            raise RuntimeError(
                f"TrainJob {name} did not end within {minutes:g} minutes ({line}); it is left as it is"
            )
        sleep(jobs.poll)


def remove(jobs: Jobs, name: str, *, seconds: float = GONE_SECONDS) -> None:
    """Delete a job with its pods, and wait until its name is free.

    Raises:
        UserError: it is still there after `seconds`.
    """
    jobs.delete(name)
    began = time.monotonic()
    while jobs.get(name) is not None:
        if time.monotonic() - began > seconds:
            raise UserError(
                f"TrainJob {name} was deleted and is still there after {seconds:g} s; see what holds it: kubectl describe "
                f"trainjob {name} --namespace {jobs.namespace}"
            )
        time.sleep(min(1.0, jobs.poll))


def state(found: Mapping[str, Any]) -> tuple[State, str]:
    """Read how a job stands from what the cluster tells of it, and its reason or how many of its pods are ready."""
    status = found.get("status") or {}
    true = {one["type"]: one for one in status.get("conditions") or [] if one.get("status") == "True"}
    if "Complete" in true:
        return "complete", ""
    if "Failed" in true:
        told = [true["Failed"].get(key) for key in ("reason", "message")]
        return "failed", ": ".join(text for text in told if text) or "no reason was given"
    if "Suspended" in true:
        return "waiting", "suspended"
    pods = status.get("jobsStatus") or []
    active = sum(one.get("active", 0) for one in pods)
    return (
        ("running", f"{sum(one.get('ready', 0) for one in pods)} jobs ready") if active else ("waiting", "")
    )


def _explained(error: BaseException, verb: str, name: str, namespace: str) -> UserError:
    status = getattr(error, "status", None)
    way_out = {
        401: "the token is missing, wrong or expired",
        403: f"this account may not {verb} trainjobs there; bind the Role of docs/distributed.md to it",
        404: "Kubeflow Trainer 2 is not installed there, or there is no such namespace",
    }.get(status or 0, _reason(error))
    code = f" ({status})" if status else ""
    return UserError(f"Kubernetes, {verb} TrainJob {name} in namespace {namespace}: {way_out}{code}")


def _reason(error: BaseException) -> str:
    """Give what the server said in an answer's body, or the error's own words."""
    try:
        return str(json.loads(getattr(error, "body", "") or "")["message"])
    except (ValueError, KeyError, TypeError):
        return str(getattr(error, "reason", None) or error).partition("\n")[0] or type(error).__name__
