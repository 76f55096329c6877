"""Why a pod does not start, as Kubernetes says it through a kubeconfig."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.kubeflow import waiting
from pipelines.kubeflow.run_steps import Step
from pipelines.kubeflow.specification import Stated
from tests.pipelines.kubernetes_objects import CORE, listed, serving

PODS = f"{CORE}/namespaces/kubeflow/pods"
STARTED = datetime(2026, 11, 28, 20, tzinfo=UTC)
STATED = Stated("train", (), image="ours:1", requests="8 CPU, 32Gi memory, 1 nvidia.com/gpu")
STEP = Step("train", "zegclip", "PENDING", STARTED, None, "flow-1", False, STATED)


def pod(node: str, run: str = "run-1", **status: Any) -> dict[str, Any]:
    metadata = {
        "name": f"pod-of-{node}",
        "labels": {"pipeline/runid": run},
        "annotations": {"workflows.argoproj.io/node-id": node},
    }
    return {"metadata": metadata, "status": {"phase": "Pending", **status}}


NO_NODE = {
    "conditions": [
        {"type": "Initialized", "status": "True"},
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/3 nodes are available",
        },
    ]
}
NO_IMAGE = {
    "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "not ready"}],
    "containerStatuses": [
        {
            "name": "main", "image": "ours:1", "imageID": "", "ready": False, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "ours:1"'}},
        }
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (
            NO_NODE,
            "its pod does not start: Unschedulable: 0/3 nodes are available; it needs the image ours:1, 8 CPU",
        ),
        (NO_IMAGE, 'its pod does not start: ImagePullBackOff: Back-off pulling image "ours:1"; it needs'),
        ({}, "its pod has not started for 3 minutes; it needs the image ours:1, 8 CPU"),
    ],
)
def test_the_pods_own_reason_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: dict[str, Any], reason: str
) -> None:
    others = (pod("flow-2", **NO_NODE), pod("flow-1", "run-2", **NO_NODE))
    with serving({PODS: listed(*others, pod("flow-1", **status))}, tmp_path) as kubeconfig:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        assert waiting.waited_for("run-1", STEP, None).startswith(reason)


def test_without_rights_the_sentence_says_where_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving({}, tmp_path) as kubeconfig:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        sentence = waiting.waited_for("run-1", STEP, "team")
    assert sentence.endswith("kubectl describe pods --namespace team --selector pipeline/runid=run-1")
