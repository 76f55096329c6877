"""Names of the container images that steps run in; compiling a pipeline replaces them."""

IMAGE = "cascade-clip-workflow:0.1.0-python3.11"
"""The image with this package and torch, for steps that compute with a model."""

TAG_LENGTH, DIRTY = 12, "-dirty"
LIGHT_IMAGE = f"{IMAGE}-light"
"""The image without torch, for all other steps."""


def image_of_commit(commit: str | None) -> str:
    """Return the name that `make images` gives to the image with torch of a commit ("-dirty" at its end if files changed).

    A tag changes with the commit, because nodes keep an image that they have pulled once. Without a repository the name is
    that of the version.
    """
    if not commit:
        return IMAGE
    return f"{IMAGE}-{commit[:TAG_LENGTH]}{DIRTY if commit.endswith(DIRTY) else ''}"
