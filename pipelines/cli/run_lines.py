"""How a run on a cluster is shown: a line for each step with its state and duration, and why a step failed or waits."""

import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.kubeflow.cluster import Connection
    from pipelines.kubeflow.run_steps import Step
    from pipelines.kubeflow.submit import RunStatus

log = logging.getLogger(__name__)


@dataclass
class RunNotes:
    """What is known of the steps of a run beside their states: why they failed, and what they wait for.

    `reasons` holds lines by title and node, so each try is explained once.
    """

    cluster: "Connection"
    run_id: str
    reasons: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)

    def update(self, run: "RunStatus") -> list["Step"]:
        """Look up failed steps, and steps whose pods do not start; return those that are new."""
        from pipelines.kubeflow.submit import explain
        from pipelines.kubeflow.waiting import waited_for, waits

        new = []
        for step in run.steps:
            key = _key(step)
            if key in self.reasons:
                continue
            if step.state == "FAILED":
                self.reasons[key] = explain(self.cluster, self.run_id, step)
            elif waits(step):
                self.reasons[key] = [waited_for(self.run_id, step, self.cluster.namespace)]
            else:
                continue
            new.append(step)
        return new

    def of(self, step: "Step") -> list[str]:
        """Return the lines about a step; none for one that runs or succeeded."""
        return self.reasons.get(_key(step), [])


def run_lines(run: "RunStatus", notes: RunNotes) -> list[str]:
    """Return the lines about a run: its steps, each with its notes, and the run with the address of its page."""
    width = max((len(step.title) for step in run.steps), default=0)
    lines = [line for step in run.steps for line in step_lines(step, notes, width)]
    return [*lines, f"{run.state:<10} {run.name}  {run.link}"]


def run_record(run: "RunStatus", notes: RunNotes) -> dict[str, Any]:
    """Return a run and its steps as JSON holds them; times are UTC in ISO format."""
    steps = [
        {
            "name": step.title,
            "state": step.state,
            "started": step.started and step.started.isoformat(),
            "ended": step.ended and step.ended.isoformat(),
            "notes": notes.of(step),
        }
        for step in run.steps
    ]
    return {"run_id": run.run_id, "name": run.name, "state": run.state, "link": run.link, "steps": steps}


def step_lines(step: "Step", notes: RunNotes, width: int = 0) -> list[str]:
    """Return the line about a step, followed by what is known of its failure."""
    first, *more = [*notes.of(step), ""]
    line = f"{step.state:<10} {step.title:<{width}}  {duration(step):>8}  {first}".rstrip()
    return [line, *(f"           | {text}" for text in more if text)]


def duration(step: "Step", now: datetime | None = None) -> str:
    """Return how long a step took, or has taken until now; "" for one that never started."""
    if step.started is None or step.state == "OMITTED":
        return ""
    ended = step.ended if step.finished and step.ended else now or datetime.now(UTC)
    seconds = max(0, round((ended - step.started).total_seconds()))
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} m"
    return f"{minutes} m {seconds:02} s" if minutes else f"{seconds} s"


def show_run(cluster: "Connection", states: Iterable["RunStatus"]) -> "RunStatus":
    """Show the states of a run as they come, and return the last."""
    if sys.stderr.isatty():
        return _live(cluster, states)
    notes: RunNotes | None = None
    logged: dict[str, tuple[str, int]] = {}
    for run in states:
        notes = notes or RunNotes(cluster, run.run_id)
        notes.update(run)
        for step in run.steps:
            said = (step.state, len(notes.of(step)))
            if logged.get(step.title) != said:
                logged[step.title] = said
                for line in step_lines(step, notes):
                    log.info("%s", line)
    return run


def _live(cluster: "Connection", states: Iterable["RunStatus"]) -> "RunStatus":
    """Show a table on the terminal, which the next state replaces; without the succeeded steps if it is too high."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    notes: RunNotes | None = None
    with Live(console=Console(stderr=True), auto_refresh=False, vertical_overflow="crop") as live:
        for run in states:
            notes = notes or RunNotes(cluster, run.run_id)
            notes.update(run)
            lines = run_lines(run, notes)
            if len(lines) > live.console.height and not run.finished:
                lines = _shortened(run, notes)
            live.update(Text("\n".join(lines)), refresh=True)
    return run


def _shortened(run: "RunStatus", notes: RunNotes) -> list[str]:
    """Return the lines about a run without its succeeded steps, which are counted."""
    left = [step for step in run.steps if step.state != "SUCCEEDED"]
    return [
        f"{len(run.steps) - len(left)} steps have succeeded",
        *run_lines(replace(run, steps=tuple(left)), notes),
    ]


def _key(step: "Step") -> tuple[str, str, str]:
    return (step.title, step.node, step.state)
