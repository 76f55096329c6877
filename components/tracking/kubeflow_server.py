"""What the Kubeflow server says of a run, asked from a pod beside it.

Kubernetes names services of the pod's own namespace in its environment. Where the server runs elsewhere, or wants a
login, nothing is known, and callers go by what the runs in MLflow say.
"""

import json
import logging
import os
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

log = logging.getLogger(__name__)

HOST_VARIABLE, PORT_VARIABLE = "ML_PIPELINE_SERVICE_HOST", "ML_PIPELINE_SERVICE_PORT"
SECONDS = 10
FINAL = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
DRIVER = "-driver"


@dataclass(frozen=True)
class KubeflowRun:
    """State of a run: `cancelled` if somebody terminated it, `failed` its failed steps by Kubeflow's names."""

    state: str
    cancelled: bool
    failed: tuple[str, ...]

    @property
    def ended(self) -> bool:
        return self.state in FINAL


def kubeflow_run(run_id: str) -> KubeflowRun | None:
    """Ask for a run; None if there is no server beside this pod, or it does not answer."""
    host, port = os.environ.get(HOST_VARIABLE), os.environ.get(PORT_VARIABLE)
    if not host or not port:
        return None
    address = (
        f"http://{f'[{host}]' if ':' in host else host}:{port}/apis/v2beta1/runs/{quote(run_id, safe='')}"
    )
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:
            return parsed_run(json.load(answer))
    except (OSError, ValueError, AttributeError) as error:
        log.info("Kubeflow says nothing of run %s (%s)", run_id, error)
        return None


def parsed_run(answer: dict[str, Any]) -> KubeflowRun:
    """Read the answer of the API, v2beta1."""
    history = [entry.get("state") for entry in answer.get("state_history") or []]
    tasks = (answer.get("run_details") or {}).get("task_details") or []
    failed = {task.get("display_name", "") for task in tasks if task.get("state") in ("FAILED", "ERROR")}
    # A step has a driver, a group of steps has one too, but no group fails without a step.
    drivers = {task.get("display_name", "") for task in tasks}
    broken = {name.removesuffix(DRIVER) for name in failed if name.endswith(DRIVER)}
    steps = {name for name in failed if name + DRIVER in drivers and not _is_group(name)}
    return KubeflowRun(
        state=str(answer.get("state", "")),
        cancelled=was_cancelled(history) or answer.get("state") == "CANCELED",
        failed=tuple(sorted(steps | broken)),
    )


def was_cancelled(history: Sequence[str | None]) -> bool:
    """Say whether a run's states, the oldest first, end with a cancellation, which servers then call FAILED."""
    before = [*history]
    while before and before[-1] == "FAILED":
        before.pop()
    return before[-1:] == ["CANCELING"]


def _is_group(name: str) -> bool:
    return name == "root" or name.startswith(("exit-handler-", "for-loop-", "condition-", "iteration"))
