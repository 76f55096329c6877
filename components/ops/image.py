"""Names of the container images that steps run in; compiling a pipeline may replace them."""

IMAGE = "cascade-clip-workflow:0.1.0-python3.11"
"""The image with this package and torch, for steps that compute with a model."""

LIGHT_IMAGE = f"{IMAGE}-light"
"""The image without torch, for all other steps."""
