"""What the project and its extras require, as pyproject.toml states it and as this environment has it."""

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def project() -> dict[str, Any]:
    """Return the table `project` of pyproject.toml."""
    return tomllib.loads(PYPROJECT.read_text())["project"]


def normal(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(requirements: list[Requirement]) -> set[str]:
    """Return the names of the requirements and of everything that they require, as installed here."""
    visited: set[tuple[str, str]] = set()
    open_ends = [(need.name, extra) for need in requirements for extra in ("", *need.extras)]
    while open_ends:
        name, extra = open_ends.pop()
        key = (normal(name), extra)
        if key in visited:
            continue
        visited.add(key)
        try:
            needs = [Requirement(line) for line in metadata.requires(name) or ()]
        except metadata.PackageNotFoundError:  # only on other systems, or with other extras
            continue
        wanted = [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
        open_ends += [(need.name, deeper) for need in wanted for deeper in ("", *need.extras)]
    return {name for name, _ in visited}
