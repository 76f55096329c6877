"""What Kubernetes says of a cluster: the volume's access modes, quotas, and how long finished runs keep their logs."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.kubeflow.cluster_objects import report_objects
from pipelines.kubeflow.resources import RESOURCES
from tests.pipelines.kubernetes_objects import APPS, CORE, listed, serving

TEAM = f"{CORE}/namespaces/team"
CLAIM = f"{TEAM}/persistentvolumeclaims/cascade-data"
QUOTAS, RANGES = f"{TEAM}/resourcequotas", f"{TEAM}/limitranges"
AGENT = f"{APPS}/namespaces/kubeflow/deployments/ml-pipeline-persistenceagent"


def claim(*modes: str) -> dict[str, Any]:
    return {"metadata": {"name": "cascade-data"}, "spec": {"accessModes": list(modes)}}


def quota(**hard: str) -> dict[str, Any]:
    named = {name.replace("_", "."): value for name, value in hard.items()}
    return listed({"metadata": {"name": "team"}, "spec": {"hard": named}})


def limits(**most: str) -> dict[str, Any]:
    return listed({"metadata": {"name": "team"}, "spec": {"limits": [{"type": "Container", "max": most}]}})


def agent(seconds: str | None) -> dict[str, Any]:
    variables = [{"name": "NAMESPACE", "value": "kubeflow"}]
    if seconds:
        variables.append({"name": "TTL_SECONDS_AFTER_WORKFLOW_FINISH", "value": seconds})
    container = {"name": "agent", "image": "agent:1", "env": variables}
    pod = {"metadata": {}, "spec": {"containers": [container]}}
    return {"metadata": {}, "spec": {"selector": {}, "template": pod}}


GOOD = {
    CLAIM: claim("ReadWriteMany"), QUOTAS: quota(limits_cpu="64", pods="50"), RANGES: listed(), AGENT: agent("86400")
}  # fmt: skip


def reports(
    objects: dict[str, Any], folder: Path, patch: pytest.MonkeyPatch
) -> dict[str, tuple[bool | None, str]]:
    with serving(objects, folder) as kubeconfig:
        patch.setenv("KUBECONFIG", str(kubeconfig))
        patch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        return {
            name: (holds, detail) for name, holds, detail in report_objects("team", RESOURCES["cpu"].values())
        }


def test_a_good_cluster_has_nothing_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = reports(GOOD, tmp_path, monkeypatch)
    assert list(seen) == ["volume for many nodes", "quotas", "life of logs"]
    assert all(holds for holds, _ in seen.values()), seen
    assert (
        "quota team, limits.cpu: 64" in seen["quotas"][1] and "24 h after its end" in seen["life of logs"][1]
    )


@pytest.mark.parametrize(
    ("path", "content", "check", "holds", "detail"),
    [
        (CLAIM, claim("ReadWriteOnce"), "volume for many nodes", False, "is ReadWriteOnce; on more than one node"),
        (QUOTAS, quota(requests_memory="1Gi"), "quotas", False, "requests.memory allows 1Gi, and a step asks for 4Gi"),
        (RANGES, limits(cpu="500m"), "quotas", False, "limit range team, cpu of a Container allows 500m"),
        (QUOTAS, listed(), "quotas", True, "the namespace team has no quota and no limit range"),
        (AGENT, agent("3600"), "life of logs", False, "logs 1 h after its end"),
        (AGENT, agent(None), "life of logs", None, "does not state TTL_SECONDS_AFTER_WORKFLOW_FINISH"),
        (CLAIM, None, "volume for many nodes", None, "may not read it (403 Forbidden)"),
    ],
)  # fmt: skip
def test_what_does_not_hold_is_named(
    path: str,
    content: Any,
    check: str,
    holds: bool | None,
    detail: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verdict, said = reports({**GOOD, path: content}, tmp_path, monkeypatch)[check]
    assert verdict is holds and detail in said


def test_without_a_kubeconfig_nothing_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    seen = list(report_objects(None, RESOURCES["cpu"].values()))
    assert [holds for _, holds, _ in seen] == [None] * 3 and "no access to Kubernetes" in seen[0][2]
