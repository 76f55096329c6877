"""What Kubeflow's page says of a run or a schedule: all parameters with their values, and a description."""

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from cascade_core.runtime.formats import PROJECT
from components.artifacts.manifest import git_commit
from components.servers.addresses import masked
from pipelines.kubeflow.parameters import declared

LENGTH = 250
"""The page shows a description in one line."""


def all_parameters(package: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a run with the defaults of those that `values` leave out.

    Kubeflow's page shows the parameters of a request only; so a request states them all.

    Raises:
        UserError: the package is not a compiled pipeline.
    """
    defaults = {name: entry.default for name, entry in declared(package).items() if entry.default is not None}
    return {**defaults, **values}


def pipeline_description(package: Path) -> str:
    """Return what a compiled pipeline says of itself; "" if it says nothing."""
    document = next(yaml.safe_load_all(package.read_text(encoding="utf-8")))
    return str(document.get("pipelineInfo", {}).get("description", ""))


def run_description(package: Path, values: Mapping[str, Any]) -> str:
    """Describe a run: what its pipeline does, which parameters were chosen, and the code that submitted it."""
    chosen = ", ".join(f"{name}={value}" for name, value in values.items())
    commit = git_commit()
    code = f"{PROJECT} {metadata.version(PROJECT)}{f', commit {commit[:12]}' if commit else ''}"
    sentences = [
        pipeline_description(package),
        f"Submitted by {code}.",
        f"Chosen: {chosen}." if chosen else "",
    ]
    text = masked(" ".join(filter(None, sentences)))
    return text if len(text) <= LENGTH else f"{text[: LENGTH - 3]}..."
