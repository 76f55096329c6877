"""What a verification of a cluster has seen: findings, each with a verdict, and what pods report in their logs."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from components.cluster.pod_probe import MARK
from pipelines.kubeflow.cluster import Connection
from pipelines.kubeflow.reasons import FOREIGN
from pipelines.kubeflow.run_steps import Step
from pipelines.kubeflow.submit import RunStatus
from pipelines.kubeflow.waiting import waited_for, waits

log = logging.getLogger(__name__)

Verdict = Literal["ok", "mend", "not seen"]


@dataclass(frozen=True)
class Finding:
    """A check of a cluster: its name, its verdict, and what was seen or what mends it."""

    check: str
    verdict: Verdict
    detail: str


@dataclass
class Verification:
    """One verification: what it made on the server, to be removed, what it has seen, and the seconds that it waited."""

    cluster: Connection
    every: float
    minutes: float
    sleep: Callable[[float], None] = time.sleep
    waited: float = 0.0
    runs: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def wait(self) -> bool:
        """Wait for a moment; False if the time is up."""
        if self.waited >= 60 * self.minutes:
            return False
        self.sleep(self.every)
        self.waited += self.every
        return True

    def note(self, check: str, holds: bool | None, detail: str) -> None:
        """Keep and log a finding; None: it could not be seen."""
        verdict: Verdict = "not seen" if holds is None else "ok" if holds else "mend"
        log.info("%-8s %s: %s", verdict, check, detail)
        self.findings.append(Finding(check, verdict, detail))


def reports_in(text: str | None) -> Iterator[dict[str, Any]]:
    """Yield what a pod reported in its log."""
    for line in (text or "").splitlines():
        if line.startswith(MARK) and not FOREIGN.match(line):
            yield json.loads(line.removeprefix(MARK))


def why_not(seen: Verification, run: RunStatus | None) -> str:
    """Say why a check saw nothing; None: its run did not end."""
    if run is None:
        return f"the run did not end within {seen.minutes:g} minutes"
    waiting: Step | None = next((step for step in run.steps if waits(step)), None)
    if waiting is not None:
        return f"step {waiting.name}: {waited_for(run.run_id, waiting, seen.cluster.namespace)}"
    return f"the run ended as {run.state} before the check ({run.link})"


def terminate(cluster: Connection, run_id: str) -> None:
    """Cancel a run."""
    cluster.call(lambda: cluster.client.terminate_run(run_id), about=f"run {run_id!r}")
