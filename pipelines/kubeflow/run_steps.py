"""The steps of a run as its user knows them, out of the nodes that the server reports.

Kubeflow runs a step `X` as the nodes `X-driver` and `X`, with `executor` in it, whose pod runs the step; loops, exit
handlers and the root are groups of such nodes.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from components.tracking.kubeflow_server import was_cancelled
from pipelines.kubeflow.argo_nodes import TRY, Node, nodes, parent, state_of
from pipelines.kubeflow.loop_items import loop_items
from pipelines.kubeflow.specification import Specification, Stated

DRIVER, EXECUTOR, ON_EXIT = "-driver", "executor", ".onExit"
LAST = 1_000_000
"""The place of steps that the compiled pipeline does not name."""
GROUP = re.compile(r"(root|exit-handler-\d+|for-loop-\d+|condition(-branches)?-\d+|iteration(-.*)?)$")
"""Display names of groups, which have a driver as steps have."""
ITERATION = re.compile(r"iteration-iterations\((\d+):")
BROKEN = ("FAILED", "ERROR")
UNFINISHED = ("PENDING", "RUNNING", "PAUSED", "CANCELING")


Below = Mapping[str, list[Node]]
"""The nodes directly below each full name."""


@dataclass(frozen=True)
class Step:
    """A step of a run.

    Attributes:
        name: the name on Kubeflow's page.
        item: what the loop around it works on in this iteration, such as "zegclip, seed 0"; "" outside of loops.
        state: PENDING before its pod runs, RUNNING, SUCCEEDED, FAILED, or OMITTED when it will not run.
        started, ended: of the step, or of its driver as long as there is only that; UTC.
        node: id of the node whose pod ran last, of the step or of its driver.
        in_driver: whether that pod is the driver's, which prepares the step.
        tries: how often the step's pod was started.
        stated: what the compiled pipeline says of it.
    """

    name: str
    item: str
    state: str
    started: datetime | None
    ended: datetime | None
    node: str
    in_driver: bool
    stated: Stated
    tries: int = 0

    @property
    def title(self) -> str:
        """The name with the item, which together are unique in a run."""
        return f"{self.name} ({self.item})" if self.item else self.name

    @property
    def finished(self) -> bool:
        return self.state not in UNFINISHED


def run_state(run: Any) -> str:
    """Return the state of a run of kfp's client; CANCELED for one that was terminated, which servers call FAILED."""
    state = state_of(run.state) or "PENDING"
    history = [state_of(entry.state) for entry in run.state_history or []]
    return "CANCELED" if state == "FAILED" and was_cancelled(history) else state


def steps_of(run: Any, specification: Specification) -> tuple[Step, ...]:
    """Return the steps of a run of kfp's client, in the order of the graph, iterations after each other.

    Steps that the server has not yet reached are missing. With an empty specification the order is that of their starts.
    """
    details = (run.run_details and run.run_details.task_details) or []
    tree = nodes(details)
    arguments = (run.runtime_config and run.runtime_config.parameters) or {}
    name = specification.name or _pipeline_of(tree)
    items = loop_items(name, {**specification.defaults(), **arguments})
    below: dict[str, list[Node]] = {}
    for node in tree.values():
        below.setdefault(parent(node.name), []).append(node)
    placed = [
        (_place(driver.name, specification), _step(driver, tree, below, specification, items))
        for driver in tree.values()
        if driver.name.endswith(DRIVER) and _is_step(driver, tree, below)
    ]
    return tuple(
        step for _, step in sorted(placed, key=lambda pair: (pair[0], _start(pair[1]), pair[1].title))
    )


def _is_step(driver: Node, tree: Mapping[str, Node], below: Below) -> bool:
    name = driver.name.removesuffix(DRIVER)
    if GROUP.match(name.rpartition(".")[2]):
        return False
    executors = _inside(name, below)
    return name not in tree or not executors or any(one.display_name == EXECUTOR for one in executors)


def _inside(name: str, below: Below) -> list[Node]:
    """Return the nodes in the last try of a node, or in the node itself where it has no tries."""
    inside = below.get(name, [])
    tries = sorted((node for node in inside if TRY.search(node.name)), key=_number)
    return _inside(tries[-1].name, below) if tries else inside


def _step(
    driver: Node, tree: Mapping[str, Node], below: Below, specification: Specification, items: list[str]
) -> Step:
    name = driver.name.removesuffix(DRIVER)
    node = tree.get(name)
    main = node or driver
    executor = next((one for one in _inside(name, below) if one.display_name == EXECUTOR), None)
    pod = _last_try(executor or driver, below)
    state = _state(node, driver, pod, started=executor is not None)
    numbers = [int(number) for number in ITERATION.findall(name)]
    return Step(
        name=(stated := specification.step(_path(name)) or Stated(name.rpartition(".")[2], ())).name,
        item=", ".join(items[n] if n < len(items) else f"iteration {n}" for n in numbers),
        state=state,
        started=pod.started if state == "PENDING" and executor else main.started,
        ended=main.ended,
        node=pod.node_id,
        in_driver=executor is None,
        tries=max(1, len(_tries(executor, below))) if executor else 0,
        stated=stated,
    )


def _state(node: Node | None, driver: Node, pod: Node, *, started: bool) -> str:
    """Return a step's state: a step without a node waits for its driver, one with a waiting pod waits for that."""
    if (node is None or not node.state) and driver.state in BROKEN:
        return "FAILED"
    if node is None:
        return "PENDING" if driver.state else "OMITTED"
    if node.state in BROKEN:
        return "FAILED"
    if started and node.state == "RUNNING" and pod.state == "PENDING":
        return "PENDING"
    return node.state or "OMITTED"


def _last_try(node: Node, below: Below) -> Node:
    return [node, *_tries(node, below)][-1]


def _tries(node: Node, below: Below) -> list[Node]:
    return sorted((one for one in below.get(node.name, []) if TRY.search(one.name)), key=_number)


def _number(node: Node) -> int:
    match = TRY.search(node.name)
    return int(match[0][1:-1]) if match else -1


def _path(name: str) -> list[str]:
    """Return the names of tasks below the root, of a node's full name."""
    without_handler = re.sub(r"\.[^.]+\.onExit(\(\d+\))?(?=\.)", "", name)
    parts = [TRY.sub("", part) for part in without_handler.split(".")[1:]]
    return [part for part in parts if part != "root" and not part.startswith("iteration-")]


def _place(name: str, specification: Specification) -> tuple[tuple[int, int], ...]:
    """Return a sort key: at each level the position in the graph, and the number of the iteration."""
    path = _path(name.removesuffix(DRIVER))
    stated = specification.step(path)
    if stated is None:
        return ((LAST + (ON_EXIT in name), 0),)
    iterations = [int(number) for number in ITERATION.findall(name)]
    loops = iter(iterations)
    return tuple(
        (position, next(loops, 0) if level.startswith("for-loop") else 0)
        for level, position in zip(path, stated.order, strict=True)
    )


def _start(step: Step) -> float:
    return step.started.timestamp() if step.started else float("inf")


def _pipeline_of(tree: Iterable[str]) -> str:
    """Return the pipeline's name by that of its workflow, to which the server adds five characters."""
    roots = (name for name in tree if "." not in name and not TRY.search(name))
    return next((name.rpartition("-")[0] for name in roots), "")
