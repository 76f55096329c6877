"""The manifest of a KServe InferenceService that serves a registered model in the project's image."""

from collections.abc import Mapping
from typing import Any

from cascade_core.errors import UserError
from components.cluster.names import SECRET

PORT = 8080
"""KServe sends requests to this port of a predictor's container."""
CONTAINER = "kserve-container"
"""KServe looks for the predictor in the container of this name."""
LONGEST_NAME = 63


def inference_service(
    model: str,
    *,
    image: str,
    version: int | None = None,
    name: str | None = None,
    gpu: str | None = None,
    cpu: str = "2",
    memory: str = "4Gi",
) -> dict[str, Any]:
    """Return the manifest: one container with probes and limits, and the tracking server's address from our secret.

    Args:
        model: the registered name; its champion at each start, unless `version` is given.
        image: the image with torch.
        version: a version of the model.
        name: the service's name; if None, the model's with dashes for other letters.
        gpu: the resource of a GPU, such as nvidia.com/gpu, to get one.
        cpu: cores that the container requests.
        memory: memory that it requests, and may use at most.

    Raises:
        UserError: the name is no name of a Kubernetes service.
    """
    service = _service_name(model) if name is None else name
    if service != _service_name(service) or not service[:1].isalpha():
        raise UserError(
            f"service name {service!r}: a name is small letters, digits and dashes, begins with a letter and has at most "
            f"{LONGEST_NAME} characters; give --name"
        )
    resources = {"cpu": cpu, "memory": memory, **({gpu: "1"} if gpu else {})}
    limits = {key: value for key, value in resources.items() if key != "cpu"}
    serve = ["models", "serve", model, *([str(version)] if version is not None else [])]
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": service,
            "annotations": {
                "serving.kserve.io/enable-prometheus-scraping": "true",
                "prometheus.kserve.io/port": str(PORT),
                "prometheus.kserve.io/path": "/metrics",
            },
        },
        "spec": {
            "predictor": {
                "minReplicas": 1,
                "securityContext": {"runAsNonRoot": True},
                "containers": [
                    {
                        "name": CONTAINER,
                        "image": image,
                        "command": ["cascade-clip"],
                        "args": [*serve, "--host=0.0.0.0", f"--port={PORT}"],
                        "ports": [{"containerPort": PORT, "protocol": "TCP"}],
                        "envFrom": [{"secretRef": {"name": SECRET}}],
                        "resources": {"requests": resources, "limits": limits},
                        # Loading a model takes up to some minutes on a cold node.
                        "startupProbe": _probe("/health", period=5, failures=60),
                        "livenessProbe": _probe("/health", period=20, failures=3),
                        "readinessProbe": _probe("/ready", period=5, failures=1),
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                        },
                    }
                ],
            }
        },
    }


def _probe(path: str, *, period: int, failures: int) -> Mapping[str, Any]:
    return {
        "httpGet": {"path": path, "port": PORT},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _service_name(text: str) -> str:
    name = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text.lower())
    return name[:LONGEST_NAME].strip("-")
