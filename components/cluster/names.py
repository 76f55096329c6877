"""Names of the Kubernetes objects that the steps expect: a volume claim with data, a secret with addresses and keys."""

from components.servers.own_variables import PREFIX, STORE, TRACKING
from components.tracking.page_links import PAGE_VARIABLES

DATA_CLAIM, DATA_FOLDER = "cascade-data", "/data"
"""This volume claim holds data sets, CLIP weights and trainings; steps mount it at the folder."""
TRAININGS_VARIABLE = "CASCADE_TRAININGS"
"""The variable with the folder or s3:// address where finished trainings are kept."""
VOLUME_VARIABLE, TRAININGS_FOLDER = "CASCADE_TRAININGS_VOLUME", f"{DATA_FOLDER}/trainings"
"""The variable with the folder on the volume in which trainings work; they stay there if no other place is named."""
POD_VARIABLE = "KUBERNETES_SERVICE_HOST"
"""Kubernetes sets this variable in every pod."""

ARTIFACTS_VARIABLE = "CASCADE_KUBEFLOW_ARTIFACTS"
"""The variable with the s3:// address below which Kubeflow keeps a folder for each pipeline."""

SECRET = "cascade-clip"
REQUIRED_KEYS: tuple[str, ...] = ("MLFLOW_TRACKING_URI",)
OPTIONAL_KEYS: tuple[str, ...] = (
    *(*STORE, *TRACKING[1:], "CASCADE_CACHE", *PAGE_VARIABLES),
    TRAININGS_VARIABLE,
    ARTIFACTS_VARIABLE,
)
"""The keys of the secret. The tracking server is required: a pod's own runs are lost with it."""

CERTIFICATES = "cascade-clip-certificates"
"""Pods mount this config map of private authorities' certificates, if there is one, at `components.servers.certificates.POD_FOLDER`."""

GPU, GPU_LABELS = "nvidia.com/gpu", {"nvidia.com/gpu.present": "true"}
"""The resource that a pod requests to get a GPU, and the label that NVIDIA's operator puts on nodes with GPUs."""


def variable_of(key: str) -> str:
    """Return the environment variable that holds a key of the secret: under a name of our own, see `own_variables`."""
    return key if key.startswith(PREFIX) else f"{PREFIX}{key}"
