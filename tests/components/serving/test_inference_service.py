"""The manifest for KServe: a pod that Kubernetes' own models read in full, and names that are refused."""

from typing import Any

import pytest
import yaml
from kubernetes import client
from typer.testing import CliRunner

from cascade_core.errors import UserError
from components.cluster.names import SECRET
from components.serving.inference_service import CONTAINER, PORT, inference_service
from pipelines.cli.app import app

OF_KSERVE = {"minReplicas"}
"""What KServe adds to a pod's fields in a predictor."""


def _manifest(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["models", "manifest", *arguments])
    assert done.exit_code == 0, done.output
    return yaml.safe_load(done.stdout)


def _read_back(kind: str, content: Any) -> Any:
    """Return what a model of Kubernetes' API keeps of a mapping: unknown fields are lost, wrong types raise."""
    api = client.ApiClient()
    return api.sanitize_for_serialization(api._ApiClient__deserialize(content, kind))


def test_kubernetes_knows_every_field_of_the_pod() -> None:
    content = _manifest("mini-18-6-cascade_clip", "2", "--image", "r.example/c:1", "--gpu", "nvidia.com/gpu")
    assert (content["apiVersion"], content["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert set(content) == {"apiVersion", "kind", "metadata", "spec"}
    assert _read_back("V1ObjectMeta", content["metadata"]) == content["metadata"]
    assert set(content["spec"]) == {"predictor"}
    pod = {key: value for key, value in content["spec"]["predictor"].items() if key not in OF_KSERVE}
    assert _read_back("V1PodSpec", pod) == pod


def test_the_container_serves_the_model_where_kserve_asks() -> None:
    (container,) = _manifest("mini-18-6-cascade_clip", "--image", "r.example/c:1")["spec"]["predictor"][
        "containers"
    ]
    assert (container["name"], container["image"]) == (CONTAINER, "r.example/c:1")
    words = [*container["command"], *container["args"]]
    assert words[:4] == ["cascade-clip", "models", "serve", "mini-18-6-cascade_clip"]
    assert f"--port={PORT}" in words and "--host=0.0.0.0" in words
    help_text = CliRunner().invoke(app, [*words[1:3], "--help"]).stdout
    assert all(word.partition("=")[0] in help_text for word in words if word.startswith("--"))
    assert container["envFrom"] == [{"secretRef": {"name": SECRET}}]
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": PORT}
    assert "nvidia.com/gpu" not in container["resources"]["limits"]


def test_a_service_name_is_checked() -> None:
    assert inference_service("a_B.c", image="i")["metadata"]["name"] == "a-b-c"
    for name in ("9lives", "Name", "a_b", "", "x" * 64):
        with pytest.raises(UserError, match="small letters, digits and dashes"):
            inference_service("model", image="i", name=name)
