"""What Kubernetes itself says of a cluster, for `cascade-clip pipeline verify`: volume, quotas, the life of finished runs.

Each check needs a kubeconfig and the right to read one kind of object; without them nothing is seen, and nothing is wrong.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from cascade_core.errors import UserError
from components.cluster.access import kubernetes
from components.cluster.names import DATA_CLAIM
from components.cluster.pods import Resources
from pipelines.kubeflow.waiting import NAMESPACE

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

SECONDS = 10
MANY_NODES = "ReadWriteMany"
AGENT, AGENT_VARIABLE = "ml-pipeline-persistenceagent", "TTL_SECONDS_AFTER_WORKFLOW_FINISH"
"""Kubeflow's deployment that removes finished workflows, with their pods and logs, after this many seconds."""
SHORTEST_LIFE = 24 * 60 * 60
"""A run of last night should still have its logs in the morning."""

Report = tuple[str, bool | None, str]
"""The name of a check, whether it holds (None: not seen), and what was seen or what mends it."""


def report_objects(namespace: str | None, rows: Iterable[Resources]) -> Iterator[Report]:
    """Yield what Kubernetes says of the namespace of the pods; `rows` are the pods that pipelines start."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    place = namespace or NAMESPACE
    checks: dict[str, Callable[[ApiClient], Iterator[Report]]] = {
        "volume for many nodes": lambda api: volume(api, place),
        "quotas": lambda api: quotas(api, place, list(rows)),
        "life of logs": life_of_logs,
    }
    try:
        api = kubernetes().api
    except UserError as error:
        yield from ((name, None, str(error)) for name in checks)
        return
    for name, check in checks.items():
        try:
            yield from check(api)
        except ApiException as error:
            yield name, None, f"the account of the kubeconfig may not read it ({error.status} {error.reason})"
        except HTTPError as error:
            yield name, None, f"Kubernetes does not answer ({error})"


def volume(api: "ApiClient", namespace: str) -> Iterator[Report]:
    """Check that pods on several nodes may mount the data's volume at one time."""
    from kubernetes.client import CoreV1Api

    core = CoreV1Api(api)
    claim = core.read_namespaced_persistent_volume_claim(DATA_CLAIM, namespace, _request_timeout=SECONDS)
    modes = list(claim.spec.access_modes or [])
    yield (
        "volume for many nodes",
        MANY_NODES in modes,
        f"the claim {DATA_CLAIM} is {', '.join(modes) or 'without an access mode'}"
        + (
            ""
            if MANY_NODES in modes
            else f"; on more than one node pods wait for each other: make it {MANY_NODES}"
        ),
    )


def quotas(api: "ApiClient", namespace: str, rows: list[Resources]) -> Iterator[Report]:
    """Check that the largest pod of the pipelines fits into what the namespace's quotas and limit ranges allow."""
    from kubernetes.client import CoreV1Api

    core = CoreV1Api(api)
    wanted = {
        "cpu": max((row.cpu for row in rows), key=_amount),
        "memory": max((row.memory for row in rows), key=_amount),
    }
    allowed = {}
    for quota in core.list_namespaced_resource_quota(namespace, _request_timeout=SECONDS).items:
        for name, amount in (quota.spec.hard or {}).items():
            allowed[f"quota {quota.metadata.name}, {name}"] = (name.rpartition(".")[2], amount)
    for limits in core.list_namespaced_limit_range(namespace, _request_timeout=SECONDS).items:
        for limit in limits.spec.limits:
            if limit.type in ("Container", "Pod"):
                for name, amount in (limit.max or {}).items():
                    allowed[f"limit range {limits.metadata.name}, {name} of a {limit.type}"] = (name, amount)
    tight = [
        f"{where} allows {amount}, and a step asks for {wanted[name]}"
        for where, (name, amount) in allowed.items()
        if name in wanted and _amount(amount) < _amount(wanted[name])
    ]
    largest = f"the largest pod of --kind cpu asks for {wanted['cpu']} CPU and {wanted['memory']} memory"
    if tight:
        yield (
            "quotas",
            False,
            f"{'; '.join(tight)}: pods never start; raise it, or ask for less by --resource",
        )
    elif allowed:
        yield (
            "quotas",
            True,
            f"{largest}; {', '.join(f'{where}: {amount}' for where, (_, amount) in allowed.items())}",
        )
    else:
        yield "quotas", True, f"{largest}; the namespace {namespace} has no quota and no limit range"


def life_of_logs(api: "ApiClient") -> Iterator[Report]:
    """Check how long Kubeflow keeps the pods of finished runs, whose logs explain a failure."""
    from kubernetes.client import AppsV1Api

    agent = AppsV1Api(api).read_namespaced_deployment(AGENT, NAMESPACE, _request_timeout=SECONDS)
    variables = {
        item.name: item.value
        for container in agent.spec.template.spec.containers
        for item in container.env or []
    }
    text = str(variables.get(AGENT_VARIABLE) or "")
    if not text.isdecimal():
        yield "life of logs", None, f"the deployment {AGENT} does not state {AGENT_VARIABLE}"
        return
    hours = f"{int(text) / 3600:g} h after its end"
    if int(text) < SHORTEST_LIFE:
        yield (
            "life of logs",
            False,
            f"a run loses its pods and logs {hours}, and with them the reasons that `pipeline status` shows; set {AGENT_VARIABLE} "
            f"of the deployment {AGENT} to {SHORTEST_LIFE} or more, or let Argo archive logs",
        )
    else:
        yield "life of logs", True, f"a run loses its pods and logs {hours}"


def _amount(quantity: Any) -> Any:
    """Return a quantity such as "500m" or "4Gi" as a number."""
    from kubernetes.utils import parse_quantity

    return parse_quantity(quantity)
