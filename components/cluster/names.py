"""Names of the Kubernetes objects that the steps expect: a volume claim with data, a secret with addresses and keys."""

DATA_CLAIM, DATA_FOLDER = "cascade-data", "/data"
"""This volume claim holds data sets and CLIP weights; steps mount it at the folder."""

SECRET = "cascade-clip"
REQUIRED_KEYS = ("MLFLOW_TRACKING_URI",)
OPTIONAL_KEYS = (
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "CASCADE_CACHE",
)
"""Each key of the secret becomes an environment variable. The tracking server is required: a pod's own runs are lost with it."""

GPU, GPU_LABELS = "nvidia.com/gpu", {"nvidia.com/gpu.present": "true"}
"""The resource that a pod requests to get a GPU, and the label that NVIDIA's operator puts on nodes with GPUs."""
