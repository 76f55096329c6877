"""The format number of stored manifests; it says which version of the code can read them."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json
from cascade_core.runtime.listing import brief, shortened

FORMAT = 1
"""The current format of the manifests of checkpoints, model folders and step folders.

Whoever raises it adds the key `needs` to the new manifests: the first version of the project that reads the new format.
This version and later ones name it in their error.
"""
PROJECT = "cascade-clip-workflow"


def read_manifest(file: Path) -> Any:
    """Read a manifest of this format or an earlier one.

    Manifests without a number are older and equal to format 1.

    Raises:
        UserError: the file is missing, no JSON, or of a later format.
    """
    content = read_json(file)
    if not isinstance(content, dict):
        return content
    number = content.get("format", FORMAT)
    if type(number) is not int or not 1 <= number <= FORMAT:
        raise UserError(
            f"{file} has format {shortened(brief(number), most=40)}, and {PROJECT} {version(PROJECT)} reads up to "
            f"{FORMAT}: update the project, to {_needed(content)}"
        )
    return {**content, "format": FORMAT}


def _needed(content: dict[str, Any]) -> str:
    """Name the version that reads a later format: the one in `needs`, else the one that wrote a step's folder."""
    packages = content.get("packages")
    wrote = packages.get(PROJECT) if isinstance(packages, dict) else None
    stated = content.get("needs") or wrote
    if isinstance(stated, str):
        return f"{PROJECT} {shortened(stated, most=40)} or a later one"
    return f"a version of {PROJECT} later than {version(PROJECT)}"
