"""The format number of stored manifests; it says which version of the code can read them."""

from pathlib import Path
from typing import Any

from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json

FORMAT = 1
"""The current format of the manifests of checkpoints, model folders and step folders."""


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
    if not isinstance(number, int) or number > FORMAT:
        raise UserError(
            f"{file} has format {number}, and this version of the project reads up to {FORMAT}; update the "
            "project to the version that wrote it, or a later one"
        )
    return {**content, "format": FORMAT}
