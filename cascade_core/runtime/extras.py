"""The extras of this package, such as `pipeline`: which of them installs a module that is not there."""

import re
from importlib import metadata

from cascade_core.runtime.formats import PROJECT

DISTRIBUTIONS = {
    "PIL": "pillow",
    "botocore": "boto3",
    "fastapi": "gradio",
    "google": "google-api-core",
    "google.api_core": "google-api-core",
    "huggingface_hub": "open_clip_torch",
    "kfp_server_api": "kfp",
    "open_clip": "open_clip_torch",
    "psycopg2": "psycopg2-binary",
    "pydantic_core": "pydantic",
    "requests": "mlflow",
    "ruamel": "ruamel.yaml",
    "s3transfer": "boto3",
    "triton": "torch",
    "urllib3": "kubernetes",
    "uvicorn": "gradio",
    "yaml": "pyyaml",
}
"""The package that brings a module, where their names differ."""


def missing_package(error: ModuleNotFoundError) -> str | None:
    """Describe a package that an import needs, and the command that installs it.

    Returns None unless this project or one of its extras requires the package: everything else is a defect, such as a
    wrong module name, and no user can mend it.
    """
    name = error.name or ""
    extras = _extras_with(DISTRIBUTIONS.get(name, name))
    if not extras:
        return None
    elsewhere = (
        "" if extras[0] else ", or use the image with torch"
    )  # the other image leaves out packages of the core
    return f"the package {name}, which is not installed: {install_command(extras[0])}{elsewhere}"


def install_command(extra: str = "") -> str:
    """Return the command that installs this project with an extra."""
    return f'pip install "{PROJECT}{f"[{extra}]" if extra else ""}"'


def requirements() -> list[tuple[str, str]]:
    """Return each package that this project requires with its extra, in the order of pyproject.toml.

    The extra is "" for the project without extras. A copy of the source that nobody installed requires nothing.
    """
    try:
        lines = metadata.requires(PROJECT) or []
    except metadata.PackageNotFoundError:
        return []
    parts = [re.match(r"([\w.-]+)[^;]*(?:;.*extra == ['\"]([\w-]+))?", line) for line in lines]
    return [(part[1], part[2] or "") for part in parts if part is not None]


def _extras_with(distribution: str) -> list[str]:
    return [extra for name, extra in requirements() if _normal(name) == _normal(distribution)]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
