"""What a cluster brings for the steps, by agreed names: a volume claim with the data, and a secret with addresses and keys."""

DATA_CLAIM, DATA_FOLDER = "cascade-data", "/data"
"""Volume claim that holds data sets and CLIP weights, and where steps find it."""

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
"""Keys of the secret become variables of the same names. Without a tracking server runs would be lost with the pod."""

GPU, GPU_LABELS = "nvidia.com/gpu", {"nvidia.com/gpu.present": "true"}
"""How a pod asks for a GPU, and what NVIDIA's operator labels nodes that have some."""
