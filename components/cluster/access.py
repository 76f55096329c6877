"""Access to Kubernetes itself, with the credentials of the pod or of the user."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cascade_core.errors import UserError
from components.cluster.names import POD_VARIABLE

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class Access:
    """Kubernetes' client, and the namespace of the pod or of the kubeconfig's context."""

    api: "ApiClient"
    namespace: str


def kubernetes() -> Access:
    """Connect by the file that `KUBECONFIG` names, else a pod's service account, else ~/.kube/config.

    Raises:
        UserError: none of these exists, or the first that exists cannot be read.
    """
    from kubernetes import client, config
    from kubernetes.config import ConfigException

    settings = client.Configuration()
    try:
        if POD_VARIABLE in os.environ and "KUBECONFIG" not in os.environ:
            config.load_incluster_config(client_configuration=settings)
            namespace = NAMESPACE_FILE.read_text(encoding="utf-8").strip()
        else:
            # Passed on, since the client reads the variable only at its import.
            file = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
            config.load_kube_config(config_file=file, client_configuration=settings)
            namespace = config.list_kube_config_contexts(file)[1]["context"].get("namespace", "default")
    except (ConfigException, OSError) as error:
        raise UserError(
            f"no access to Kubernetes ({error}); run in a pod with a service account, or name a kubeconfig by KUBECONFIG"
        ) from error
    return Access(client.ApiClient(settings), namespace)
