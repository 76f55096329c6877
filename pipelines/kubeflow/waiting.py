"""What a step waits for whose pod does not start: the server says PENDING for hours and nothing else.

Where a kubeconfig is at hand, Kubernetes itself says the reason; else the step's own requests say what to look for.
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from cascade_core.errors import UserError
from components.cluster.access import kubernetes
from pipelines.kubeflow.run_steps import Step

log = logging.getLogger(__name__)

PATIENCE = timedelta(minutes=3)
"""A pod that takes longer to start is reported."""
NAMESPACE = "kubeflow"
"""Where the pods of a server without namespaces run."""
RUN_LABEL, NODE_ANNOTATION = "pipeline/runid", "workflows.argoproj.io/node-id"
SECONDS = 5


def waits(step: Step, now: datetime | None = None) -> bool:
    """Return whether the step's pod should have started by now."""
    now = now or datetime.now(UTC)
    return step.state == "PENDING" and step.started is not None and now - step.started > PATIENCE


def waited_for(run_id: str, step: Step, namespace: str | None) -> str:
    """Return in one sentence what the step waits for, and where to look."""
    place = namespace or NAMESPACE
    reason = pod_reason(run_id, step, place)
    stated = step.stated
    wanted = [
        *([f"the image {stated.image}"] if stated.image else []),
        *([stated.requests] if stated.requests else []),
    ]
    needs = f"; it needs {', '.join(wanted)}" if wanted and not step.in_driver else ""
    if reason is not None:
        return f"its pod does not start: {reason}{needs}"
    look = f"kubectl describe pods --namespace {place} --selector {RUN_LABEL}={run_id}"
    return (
        f"its pod has not started for {PATIENCE.seconds // 60} minutes{needs}; Kubernetes knows why: {look}"
    )


def pod_reason(run_id: str, step: Step, namespace: str) -> str | None:
    """Return what Kubernetes says of the step's pod; None without access to it, or if it says nothing."""
    from kubernetes.client import ApiException, CoreV1Api
    from urllib3.exceptions import HTTPError

    try:
        pods = CoreV1Api(kubernetes().api).list_namespaced_pod(
            namespace, label_selector=f"{RUN_LABEL}={run_id}", _request_timeout=SECONDS
        )
    except (UserError, ApiException, HTTPError) as error:
        log.debug("no pods of run %s: %s", run_id, error)
        return None
    ours = [pod for pod in pods.items if (pod.metadata.annotations or {}).get(NODE_ANNOTATION) == step.node]
    return next(filter(None, map(_reason, ours)), None)


def _reason(pod: Any) -> str | None:
    """Return why a pod waits: a container that cannot start, else a condition that does not hold."""
    status = pod.status
    for container in [*(status.init_container_statuses or []), *(status.container_statuses or [])]:
        waiting = container.state and container.state.waiting
        if waiting and waiting.message:
            return f"{waiting.reason}: {waiting.message}"
    for condition in status.conditions or []:
        if condition.status == "False" and condition.message:
            return f"{condition.reason}: {condition.message}"
    return None
