"""A pipeline on this machine: every step in a process of its own, no container, no cluster."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp import local

from cascade_core.errors import UserError
from cascade_core.labels.label_file import is_label_file
from components.storage.places import S3
from pipelines.kubeflow.catalogue import entry
from pipelines.kubeflow.resources import local_resources

PLACES = ("raw", "clip", "checkpoint")
"""Parameters that are folders, here relative to the working folder too."""


def run_local(pipeline: str, parameters: Mapping[str, Any], *, out: Path) -> Path:
    """Run a pipeline with everything it writes below `out`, a new folder per run, and give its results' folder.

    Two turns of a loop run at a time. Caching, limits, volumes, secrets and the image, which only a cluster
    knows, play no part, and nothing that fails is tried again.

    Raises:
        UserError: the pipeline is unknown, a parameter is not possible, or a folder does not exist.
        RuntimeError: a step failed; its own error is in the log.
    """
    chosen = entry(pipeline)
    chosen.check(parameters)
    values = {name: _found(name, value) for name, value in parameters.items()}
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(out),
        workspace_root=str(out / "workspace"),
    )
    earlier = set(out.glob("*"))
    with warnings.catch_warnings():
        # Said of every task; this function's own words say it once.
        warnings.filterwarnings("ignore", message="Task .* have no effect in the current local runner")
        chosen.build(local_resources())(**values)
    # What stands inside an exit handler is no output of the pipeline: kfp allows none from there.
    (results,) = (found for run in set(out.glob("*")) - earlier for found in run.glob("*/results"))
    return results


def _found(name: str, value: Any) -> Any:
    """Give a parameter with the folders in it as absolute paths: steps run elsewhere."""
    if name == "targets":
        return [
            {key: _found(f"targets[{i}].{key}", item) for key, item in target.items()}
            for i, target in enumerate(value)
        ]
    if name.rpartition(".")[2] == "protocol" and is_label_file(value) and not value.startswith(S3):
        if not Path(value).is_file():
            raise UserError(f"{name}: label file {value} does not exist; check the path")
        return str(Path(value).resolve())
    if name.rpartition(".")[2] not in PLACES or value.startswith(S3):
        return value
    if not Path(value).is_dir():
        raise UserError(f"{name}: folder {value} does not exist; run `dvc pull`, or give another one")
    return str(Path(value).resolve())
