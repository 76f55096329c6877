"""The nodes of a run, as its server reports them: a flat list without order, names or parents, put back in a tree.

A server lists every node of the Argo workflow as a task. An entry has a display name (`train`, `executor(0)`) and the
ids of nodes that come after it, but not its own id. Argo derives an id from the node's full name, the path from the
root (workflow/util.go of Argo Workflows 3 and 4), so the full names follow from the ids.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

TRY = re.compile(r"\(\d+\)$")
"""The end of the name of one try; the node of all tries lacks it. Iterations end in `(0:ITEM)`."""
MOST_TRIES = 12
FNV_OFFSET, FNV_PRIME = 2166136261, 16777619


@dataclass(frozen=True)
class Node:
    """A node of the workflow.

    Attributes:
        name: the path from the root: display names with points between them, each try with its number.
        node_id: Argo's id; the pod of the node, if it has one, has this id in its annotations.
        state: as the server says it; "" for a node that was left out.
        started, ended: in UTC; None if not yet.
    """

    name: str
    node_id: str
    state: str
    started: datetime | None
    ended: datetime | None

    @property
    def display_name(self) -> str:
        """The last part of the name, without the number of a try."""
        return TRY.sub("", self.name).rpartition(".")[2]


def node_id(workflow: str, name: str) -> str:
    """Return Argo's id of a node by its full name: the workflow's name and the 32-bit FNV-1a hash."""
    return workflow if name == workflow else f"{workflow}-{_hashed(name)}"


def parent(name: str) -> str:
    """Return the full name of the node above: that of all tries for one try, else the try or group around it."""
    shorter = TRY.sub("", name)
    return shorter if shorter != name else name.rpartition(".")[0]


def nodes(tasks: Iterable[Any]) -> dict[str, Node]:
    """Return the nodes of a run by full name; `tasks` are `task_details` of kfp's client.

    Entries without a display name (tasks of ML Metadata) are left out. Leaves with equal names, such as the pods of a
    loop's iterations, are distinguished by their times; equal times leave the order of the list.
    """
    entries = [task for task in tasks if task.display_name]
    children = {task.task_id: [child.pod_name for child in task.child_tasks or []] for task in entries}
    displays = {task.display_name for task in entries}
    workflow = _workflow(displays, [child for ids in children.values() for child in ids])
    if workflow is None:
        return {task.display_name: _node(task, task.display_name, "") for task in entries}
    names = _full_names(workflow, displays, {child for ids in children.values() for child in ids})
    by_name: dict[str, Any] = {}
    rest: dict[str, list[Any]] = defaultdict(list)
    for task in entries:
        name = _own_name(
            task.display_name, [names[child] for child in children[task.task_id] if child in names]
        )
        if task.display_name == workflow:
            by_name[workflow] = task
        elif name in names.values() and name not in by_name:
            by_name[str(name)] = task
        else:
            rest[task.display_name].append(task)
    for name in sorted(set(names.values()) - set(by_name), key=len):
        if candidates := rest[_last(name)]:
            best = min(candidates, key=lambda task: _distance(task, by_name.get(parent(name))))
            candidates.remove(best)
            by_name[name] = best
    return {name: _node(task, name, node_id(workflow, name)) for name, task in by_name.items()}


def _workflow(displays: Iterable[str], ids: Iterable[str]) -> str | None:
    """Return the workflow's name, which is the display name of its root and the beginning of all ids."""
    prefixes = {one.rpartition("-")[0] for one in ids}
    return next((name for name in displays if name in prefixes), None)


def _full_names(workflow: str, displays: Iterable[str], ids: set[str]) -> dict[str, str]:
    """Return the full names by id: those below a known name whose hashes are among the ids."""
    endings = [f".{name}" for name in displays] + [f"({number})" for number in range(MOST_TRIES)]
    names, left = {workflow: workflow}, [workflow]
    while left:
        known = left.pop()
        state = _hashed(known)
        for ending in endings:
            identity = f"{workflow}-{_hashed(ending, state)}"
            if identity in ids and identity not in names:
                names[identity] = known + ending
                left.append(known + ending)
    return names


def _own_name(display: str, after: Iterable[str]) -> str | None:
    """Return the full name of an entry by those of the nodes after it: its children, or its successors in a group."""
    for child in after:
        group = parent(child)
        for name in (group, f"{group}.{display}", f"{parent(group)}.{display}", parent(group)):
            if _last(name) == display:
                return name
    return None


def _last(name: str) -> str:
    """Return the display name of a full name, with the number of its try."""
    match = TRY.search(name)
    stem = name[: match.start()] if match else name
    # The name of an exit handler's node is the handler's with an ending.
    head, _, tail = stem.rpartition(".")
    display = f"{head.rpartition('.')[2]}.{tail}" if tail == "onExit" else tail
    return display + (match[0] if match else "")


def _hashed(text: str, state: int = FNV_OFFSET) -> int:
    for byte in text.encode():
        state = ((state ^ byte) * FNV_PRIME) & 0xFFFFFFFF
    return state


def _distance(task: Any, above: Any) -> float:
    """Return by how many seconds the times of an entry differ from those of the node above."""
    if above is None:
        return 0.0
    pairs = ((_time(one.start_time), _time(one.end_time)) for one in (task, above))
    (start, end), (start_above, end_above) = pairs
    return sum(
        abs((one - other).total_seconds()) if one and other else 1e9 * ((one is None) != (other is None))
        for one, other in ((start, start_above), (end, end_above))
    )


def _node(task: Any, name: str, identity: str) -> Node:
    return Node(name, identity, state_of(task.state), _time(task.start_time), _time(task.end_time))


def state_of(state: Any) -> str:
    """Return a state without the prefix that some servers write."""
    return str(state or "").upper().removeprefix("RUNTIME_STATE_")


def _time(value: datetime | None) -> datetime | None:
    """Return a time; servers write the years 1 and 1970 for none."""
    return value if value is not None and value.year > 1970 else None
