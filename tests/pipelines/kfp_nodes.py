"""The nodes of an Argo workflow for steps that the fake server runs, as a real server lists them."""

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipelines.kubeflow.argo_nodes import node_id, parent

ITERATION = re.compile(r"(.*)-iteration-(\d+)$")
NEVER = "0001-01-01T00:00:00Z"


@dataclass
class Ran:
    """A step that was started: the groups around it and its own name, its state, and its times in seconds."""

    place: tuple[str, ...]
    exits: bool
    retries: int
    state: str
    started: float
    ended: float | None = None


@dataclass
class Workflow:
    """The nodes of one run; `doubled` adds a node per try to all, as Kubeflow's own policy `OnError` does."""

    name: str
    doubled: bool = True
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, steps: Iterable[Ran]) -> "Workflow":
        """Add the nodes of steps."""
        for step in steps:
            self._add_step(step)
        return self

    def task_details(self) -> list[dict[str, Any]]:
        """Return the list as the server does: no parents, no names of pods, in the order of random ids."""
        below: dict[str, list[str]] = {}
        for name in self.entries:
            below.setdefault(parent(name), []).append(node_id(self.name, name))
        details = []
        for name, entry in self.entries.items():
            task = {"task_id": str(uuid.uuid5(uuid.NAMESPACE_OID, name)), **entry}
            if name in below:
                task["child_tasks"] = [{"pod_name": child} for child in below[name]]
            details.append(task)
        return sorted(details, key=lambda task: str(task["task_id"]))

    def _add_step(self, step: Ran) -> None:
        inside = self._group(self.name, "", step)
        self._leaf(f"{inside}.root-driver", "root-driver", step)
        inside = self._group(inside, "root", step)
        for group in step.place[:-1]:
            inside = self._inside_group(inside, group, step)
        name = step.place[-1]
        if step.exits:
            inside = self._group(inside, "exit-handler-1.onExit", step)
        self._leaf(f"{inside}.{name}-driver", f"{name}-driver", step)
        pod = self._group(
            self._group(inside, name, step), "executor", step, tries=self.doubled or step.retries > 0
        )
        self.pods[node_id(self.name, pod)] = step.place

    def _inside_group(self, inside: str, group: str, step: Ran) -> str:
        if not (iteration := ITERATION.match(group)):
            self._leaf(f"{inside}.{group}-driver", f"{group}-driver", step)
            return self._group(inside, group, step)
        loop, number = iteration[1], iteration[2]
        inside = self._group(inside, loop, step)
        self._leaf(f"{inside}.iteration-driver", "iteration-driver", step)
        self._group(inside, "iteration-iterations", step, tries=False)
        inside = self._group(inside, f"iteration-iterations({number}:{number})", step)
        self._leaf(f"{inside}.iteration-item-driver", "iteration-item-driver", step)
        return self._group(inside, "iteration-item", step)

    def _group(self, inside: str, display: str, step: Ran, *, tries: bool | None = None) -> str:
        """Add a node that holds others; return the name of its last try, or its own."""
        name, display = (f"{inside}.{display}", display) if display else (inside, inside)
        self._put(name, display, step)
        if self.doubled if tries is None else tries:
            name, display = f"{name}(0)", f"{display}(0)"
            self._put(name, display, step)
        return name

    def _leaf(self, name: str, display: str, step: Ran) -> None:
        done = Ran(step.place, step.exits, 0, "SUCCEEDED", step.started, step.started)
        self._put(name, display, done)
        if self.doubled:
            self._put(f"{name}(0)", f"{display}(0)", done)

    def _put(self, name: str, display: str, step: Ran) -> None:
        """Add a node, or widen the times of one that holds several steps; a failure inside is its own."""
        entry = self.entries.get(name)
        if entry is None:
            self.entries[name] = {
                "display_name": display,
                "create_time": time_text(step.started),
                "start_time": time_text(step.started),
                "end_time": time_text(step.ended),
                "state": step.state,
                "state_history": [{"update_time": time_text(step.started), "state": step.state}],
            }
        else:
            entry["end_time"] = time_text(step.ended)
            states = (entry["state"], step.state)
            entry["state"] = next(one for one in ("FAILED", "RUNNING", "SUCCEEDED") if one in states)


def ran_steps(events: Iterable[Mapping[str, Any]]) -> list[Ran]:
    """Return the steps of a run by its events; a step that ran again has its last state."""
    steps: dict[tuple[str, ...], Ran] = {}
    for event in events:
        place = tuple(event["place"])
        if event["state"] == "RUNNING":
            steps[place] = Ran(place, event["exits"], event["retries"], "RUNNING", event["time"])
        else:
            steps[place].state, steps[place].ended = event["state"], event["time"]
    return list(steps.values())


def time_text(seconds: float | None) -> str:
    """Write a time as the server does, in whole seconds."""
    return NEVER if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
